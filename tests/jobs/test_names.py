"""Jobs in a folder, and with storage on S3, of a name that libraries take apart differently.

All beside another Ray that `ray start` began on the machine.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import boto3
import numpy as np
import pandas as pd
import psutil
import pytest
from moto.server import ThreadedMotoServer

JOBS = Path(__file__).parents[2] / "jobs"
NAME = "O'Brien ü #[1] %41 ?x"
# One after the other on one Ray, which saves the start of both.
RUN = """
import json, runpy, sys
for sys.argv in json.loads(sys.argv[1]):
    runpy.run_path(sys.argv[0], run_name="__main__")
"""
SHORT = ["--num_seeds", 1, "--train.batch_size", 8, "--train.num_steps", 4, "--model.width", 32]
SHORT += ["--validation_examples", 8, "--test_examples", 8, "--train.checkpoint_every", 2]
SHORT += ["--history_size", 8, "--retrieval.num_draws", 2]
NEEDLE = ["train_needle.py", *SHORT, "--history_sizes", "[8]", "--key_dim", 8]
ROTATING = ["train_rotating.py", *SHORT, "--num_bins", 4, "--num_recent", 4, "--dim", 4]
TABLE = ["train_table.py", "--data", "claims.csv", "--time", "happened", "--label", "outcome"]
TABLE += ["--train.num_epochs", 1, "--evaluate.num_refits", 1]
CLAIMS = {"name": "claims", "time": "happened", "label": "outcome"}
CLAIMS |= {"train": {"num_epochs": 1}, "evaluate": {"num_refits": 1}}
AMAZON = ["train_amazon.py", "--config", "tiny.yaml"]
PREPARE = ["prepare_amazon.py", "--config", "tiny.yaml", "--name", "prepared"]
DRIFT = ["bench_drift.py", "--tables", "{claims.yaml: claims.csv}", "--seeds", "[0]"]
TRAINED = [NEEDLE, ROTATING, TABLE, AMAZON, PREPARE, DRIFT]
FETCH = ["bench_fetch.py", "--corpus_bytes", 9999, "--remote_bytes", 9999, "--row_bytes", "[16]"]
FETCH += ["--batch_rows", "[8]", "--seconds", 0.02]
BENCHES = [
    ["bench_draw.py", "--num_keys", "[99]", "--batch", "[2]", "--dtypes", "[int8]", "--rounds", 1],
    ["sweep_memory.py", "--batch", 2, "--num_keys", 99, "--key_dim", 8, "--row_dim", 8],
    ["bench_ingest.py", "--num_rows", 900, "--num_columns", 25, "--folder", "bench"],
]
SCALING = ["bench_scaling.py", "--nodes", "[1]", "--servers", "[1]", "--workers", "[1]"]
SCALING += ["--job", "tiny.yaml", "--corpus_bytes", 99_999, "--batch_rows", 8, "--seconds", 0.02]


@pytest.fixture(scope="module")
def s3():
    """An S3 server with an empty bucket: what finds it, and a client."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    found = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in found.items():
            patch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        yield found, client
    server.stop()


@pytest.fixture(scope="module")
def other_ray(ray_start):
    """Where jobs find the address of another Ray, which runs; a short path, for its sockets."""
    folder = Path(tempfile.mkdtemp(prefix="ray"))
    command = [Path(sys.executable).parent / "ray", "start", "--head", "--port", "0"]
    command += ["--num-cpus", "1", "--dashboard-port", "0", "--disable-usage-stats"]
    found = {"RAY_TMPDIR": str(folder)}
    subprocess.run(
        command,
        env={**os.environ, **found},
        check=True,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    yield found
    for process in psutil.process_iter(["cmdline"]):
        if any(f"{folder}/" in word for word in process.info["cmdline"] or ()):
            process.kill()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def run_jobs(s3, other_ray, tiny_config, tmp_path_factory):
    """Runs jobs in one process in a folder of that name; gives what they wrote."""
    folder = tmp_path_factory.mktemp("names") / NAME
    folder.mkdir()
    rng = np.random.default_rng(0)
    claims = {
        "happened": pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(600), "h"),
        "outcome": rng.integers(0, 2, 600),
        "x": rng.normal(size=600),
    }
    pd.DataFrame(claims).to_csv(folder / "claims.csv", index=False)
    (folder / "claims.yaml").write_text(json.dumps(CLAIMS))
    tiny = asdict(replace(tiny_config, storage_path="runs", corpus=None))
    (folder / "tiny.yaml").write_text(json.dumps(tiny))

    def run(*jobs: list) -> str:
        paths = os.pathsep.join([str(JOBS.parent), os.environ.get("PYTHONPATH", "")])
        told = [[str(JOBS / name), *map(str, args)] for name, *args in jobs]
        done = subprocess.run(
            [sys.executable, "-c", RUN, json.dumps(told)],
            capture_output=True,
            text=True,
            env={**os.environ, **s3[0], **other_ray, "PYTHONPATH": paths},
            cwd=folder,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout + done.stderr

    return run


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("place", ["runs", f"s3://bucket/{NAME}"])
def test_jobs_end_right(run_jobs, s3, place):
    is_remote, storage = "s3:" in place, ["--storage_path", place]
    corpus, table = f"{place}/corpora/table", f"{place}/table.parquet"
    after = [["corpus.py", word, corpus] for word in ("info", "verify", "gc", "rekey")]
    after += [["corpus.py", "export", corpus, table]]
    after += [["corpus.py", "import", f"{place}/imported", json.dumps([table])]]
    after += [["summarize.py", "--names", "[tiny]"]]
    benches = [[*FETCH, "--remote", place]] if is_remote else [FETCH, *BENCHES]
    output = run_jobs(*([*job, *storage] for job in TRAINED), *after, *benches)
    output += run_jobs([*SCALING, *storage])
    for word in ("multiple active Ray", "cleaner", "Traceback"):
        assert word not in output
    found = s3[1].list_objects_v2(Bucket="bucket").get("Contents", [])
    assert {item["Key"].split("/")[0] for item in found} == ({NAME} if is_remote else set())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_prefixes_that_differ_after_a_hash_are_two_places(run_jobs, s3):
    told = [["--storage_path", f"s3://bucket/proj#{seed}", "--seed", seed] for seed in (2, 3)]
    run_jobs(*([*NEEDLE, *each] for each in told))
    found = s3[1].list_objects_v2(Bucket="bucket", Prefix="proj")["Contents"]
    for seed in (2, 3):
        keys = [item["Key"] for item in found if item["Key"].startswith(f"proj#{seed}/")]
        assert sum(key.endswith("/state.pt") for key in keys) == 2
        assert f"proj#{seed}/needle/settings.json" in keys
    assert all(item["Key"].startswith(("proj#2/", "proj#3/")) for item in found)
