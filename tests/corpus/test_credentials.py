"""Credentials appear in no message, log, manifest or MLflow run."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import s3fs

from raclib.corpus import open_corpus
from raclib.errors import UserError

JOB = Path(__file__).resolve().parents[2] / "jobs" / "bench_fetch.py"


def secrets() -> list[str]:
    return [os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]]


def test_in_no_message_and_no_manifest(bucket, rows, write_corpus, proxy, caplog):
    caplog.set_level("DEBUG", logger="raclib")
    remote = write_corpus(f"{bucket}/secret", rows, 5000, provenance={"encoder": "e"})
    proxy.fault = lambda method, path: "denied"
    with pytest.raises(UserError) as caught:
        open_corpus(remote.uri)
    proxy.reset()
    manifest = s3fs.S3FileSystem().cat_file(f"{remote.uri}/manifests/00000001.json").decode()
    for secret in secrets():
        assert secret not in str(caught.value) + caplog.text + manifest


@pytest.mark.parametrize("uri", ["s3://id:password@bucket/corpus", "http://me:password@host/c"])
def test_refused_in_a_uri(uri):
    with pytest.raises(UserError, match="may not carry credentials") as caught:
        open_corpus(uri)
    assert "password" not in str(caught.value)


@pytest.fixture
def ray_folder():
    """Where Ray keeps its logs; short, because it puts sockets there too."""
    folder = tempfile.mkdtemp(prefix="ray")
    yield Path(folder)
    shutil.rmtree(folder)


def test_in_no_log_and_no_mlflow_run(bucket, tmp_path, ray_folder):
    """A whole job that writes to, serves from and reads an object store."""
    options = ["--corpus_bytes=200000", "--remote_bytes=200000", "--row_bytes=[64]"]
    options += ["--batch_rows=[64]", "--seconds=0.01", f"--remote={bucket}/job", "--folder=c"]
    done = subprocess.run(
        [sys.executable, JOB, *options, "--tracking.uri=sqlite:///mlflow.db"],
        cwd=tmp_path,
        env={**os.environ, "RAY_TMPDIR": str(ray_folder)},
        capture_output=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    written = [path for folder in (tmp_path, ray_folder) for path in folder.rglob("*")]
    logs = {path: path.read_bytes() for path in written if path.is_file()}
    names = {path.name for path in logs}
    assert {"mlflow.db", "fetch.csv", "fetch.png", "raylet.out"} <= names, names
    assert b"s3://" in logs[tmp_path / "mlflow.db"]
    for secret in secrets():
        assert secret.encode() not in done.stdout + done.stderr
        assert not [path for path, data in logs.items() if secret.encode() in data]
