"""The job: its table, its errors of one line with their exit codes, a run killed in mid-way."""

import gzip
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from raclib.corpus import open_corpus
from raclib.run.cli import main, parse
from raclib.tasks.amazon.config import AmazonConfig
from raclib.tasks.amazon.corpus import prepare_reviews

JOB = Path(__file__).parents[2] / "jobs" / "prepare_amazon.py"
CONFIG = """
name: small
generated: {num_reviews: 400}
encoder: {dim: 32}
key: {dim: 8}
rows_per_shard: 150
"""
GOOD = {
    "rating": 4.0,
    "title": "Fine",
    "text": "words of a user",
    "timestamp": 1_000_000_000_000,
    "helpful_vote": 0,
    "verified_purchase": True,
}


def load_job():
    spec = importlib.util.spec_from_file_location("prepare_amazon", JOB)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(ray_cluster, tmp_path, monkeypatch, capsys):
    """Runs the job in this process; returns its exit code, output and errors."""
    (tmp_path / "small.yaml").write_text(CONFIG)

    def run(*args: str) -> tuple[int, str, str]:
        given = ["--storage_path", str(tmp_path / "runs"), *args]
        monkeypatch.setattr(sys, "argv", [str(JOB), *given])
        code = 0
        try:
            main(load_job().run, AmazonConfig, tmp_path / "small.yaml")
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return run


def write(path: Path, *rows: object, packed: bool = False) -> str:
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    return str(path)


def test_prints_what_the_corpus_holds(run, tmp_path):
    reviews = write(tmp_path / "a.jsonl", GOOD, {}, {**GOOD, "rating": 9}, GOOD)
    code, out, _ = run("--generated", "null", "--reviews", reviews)
    assert code == 0
    table = dict(line.split("  ", 1) for line in out.strip().splitlines() if line[0] != " ")
    assert table["reviews"].strip() == "2 in 1 shards"
    assert table["from, to"].strip() == "2001-09-09, 2001-09-09"
    assert table["skipped"].strip() == "2 of 4 lines"
    assert table["field embedding"].strip() == "float16 [32]"
    assert "rating: field required" in out
    assert "words of a user" not in out


def test_bad_reviews_are_errors_of_one_line(run, tmp_path):
    good = write(tmp_path / "good", GOOD)
    packed = Path(write(tmp_path / "packed", *[GOOD] * 99, packed=True))
    packed.write_bytes(packed.read_bytes()[:-30])
    bad = write(tmp_path / "bad", GOOD, {**GOOD, "rating": None})
    none = write(tmp_path / "none", {})
    (tmp_path / "empty").touch()
    seconds = write(tmp_path / "seconds", {**GOOD, "timestamp": 1_000_000_000})
    cases = {
        (str(tmp_path / "nowhere"),): "nowhere: no such file; check the path",
        (str(packed),): "packed: truncated gzip file; get it again",
        (str(tmp_path / "empty"),): "empty: empty file; give JSON lines, one a review",
        (none,): "none: no valid review in 1 lines: rating: field required (1)",
        (bad, "--strict", "true"): "bad, line 2: rating: input should be a valid number; mend it",
        (f"['{good}', '{none}x']",): "nonex: no such file",
        ("http://127.0.0.1:1/a.jsonl",): "http://127.0.0.1:1/a.jsonl: the download broke off",
        (good, "--encoder.precomputed", none): "none: not a .npy array",
        (seconds,): "no valid review in 1 lines: timestamp: seconds? give milliseconds (1)",
        (good, "--rule.cutoff", "1999-01-01"): "rule.cutoff: no review is before it",
        (good, "--category", "Books"): "reviews and category given; give exactly one",
    }
    for args, message in cases.items():
        code, out, err = run("--generated", "null", "--reviews", *args)
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        assert (code, out, len(errors)) == (1, "", 1), args
        assert message in errors[0]
        assert err.rstrip().endswith(errors[0])
        assert "words of a user" not in err
        assert not (tmp_path / "runs" / "corpora").exists() or not list(
            (tmp_path / "runs" / "corpora").iterdir()
        )


def test_bytes_after_gzip_are_a_warning(run, tmp_path):
    path = write(tmp_path / "a.gz", GOOD, GOOD, packed=True)
    with Path(path).open("ab") as file:
        file.write(b"-- mirrored --")
    code, out, err = run("--generated", "null", "--reviews", path)
    assert (code, "2 in 1 shards" in out) == (0, True)
    said = "14 bytes after the end of its gzip data are no gzip and were not read"
    assert f"warning: {path}: {said}" in err.splitlines()


def test_wrong_options_exit_with_2(run):
    for args, message in {
        ("--rule.cutoff", "soon"): "'soon' is not a date",
        ("--rows_per_shard", "0"): "rows_per_shard",
        ("--encoder.kind", "word2vec"): "encoder.kind",
        ("--no_such_option", "1"): "no_such_option",
    }.items():
        code, _, err = run(*args)
        assert code == 2
        assert message in err
        assert len(err.strip().splitlines()) == 1


def test_reads_reviews_of_the_web_and_keeps_them(run, tmp_path):
    write(tmp_path / "a.jsonl.gz", GOOD, GOOD, packed=True)

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        code, out, _ = run("--generated", "null", "--reviews", f"{url}/a.jsonl.gz")
        assert (code, "2 in 1 shards" in out) == (0, True)
        kept = (tmp_path / "runs" / "downloads").iterdir()
        assert {path.name.partition("-")[2] for path in kept} == {
            "a.jsonl.gz",
            "a.jsonl.gz.version",
        }
        missing = run("--generated", "null", "--name", "b", "--reviews", f"{url}/b.jsonl.gz")
        assert missing[0] == 1
        assert "/b.jsonl.gz: the server answered 404" in missing[2]
        server.shutdown()


# Every process of a job that finds this on its path waits, once five shards are embedded.
HOLD = """
import pathlib, time
replace = pathlib.Path.replace

def held(path, target):
    folder = pathlib.Path(target).parent
    while "encoded-" in str(target) and len(list(folder.glob("encoded-*.json"))) >= 5:
        time.sleep(0.1)
    return replace(path, target)

pathlib.Path.replace = held
"""


@pytest.mark.slow
def test_a_killed_run_continues_to_the_same_corpus(run_here, tmp_path):
    """Runs the file itself, as a user does, on its default configuration."""
    args = ["--generated.num_reviews", "2000", "--rows_per_shard", "200"]
    folder = tmp_path / "killed"
    args_here = ["--storage_path", str(folder), *args]
    staging = folder / "corpora" / "amazon_quickstart.staging"
    (tmp_path / "sitecustomize.py").write_text(HOLD)
    search = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, str(JOB), *args_here],
        env={**os.environ, "PYTHONPATH": search},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while len(list(staging.glob("encoded-*.json"))) < 5:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {path.name: path.stat().st_mtime_ns for path in staging.glob("encoded-*.json")}
    assert 5 <= len(finished) < 10
    embedding = "{}/shards/{:08d}/embedding.npy"
    corpus_folder = folder / "corpora" / "amazon_quickstart"
    times = {
        path: path.stat().st_mtime_ns
        for name in finished
        if (path := Path(embedding.format(corpus_folder, int(name[8:-5]))))
    }
    code, out, errors = run_here(JOB.name, *args_here)
    assert code == 0, errors
    assert "2,000 in 10 shards" in out
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert not staging.exists()

    default = JOB.parents[1] / "configs" / "amazon_quickstart.yaml"
    whole = prepare_reviews(
        parse(AmazonConfig, default, ["--storage_path", str(tmp_path / "w"), *args])
    )
    continued = open_corpus(str(corpus_folder))
    continued.verify()
    assert continued.shards == whole.shards
    assert continued.provenance == whole.provenance
