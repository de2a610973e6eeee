"""What dead writers leave is found and removed; what any version needs is not."""

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from raclib.corpus import CorpusWriter, open_corpus
from raclib.corpus import orphans as orphans_module
from raclib.corpus.orphans import find_orphans, remove
from raclib.errors import UserError

JOB = Path(__file__).resolve().parents[2] / "jobs" / "corpus.py"


@pytest.fixture
def littered(tmp_path, make_rows, write_corpus):
    """Two versions, and what an aborted append and a killed write left."""
    uri = str(tmp_path / "c")
    write_corpus(uri, make_rows(100), 40)
    corpus = write_corpus(uri, make_rows(50, start_time=100), 40, mode="append")
    rows = make_rows(50, start_time=200)
    with (
        pytest.raises(RuntimeError),
        CorpusWriter(uri, corpus.fields, 25, mode="append") as writer,
    ):
        writer.write(rows)
        raise RuntimeError
    (Path(uri) / "shards" / corpus.shards[0].id / ".label.npy.x.tmp").write_bytes(b"half")
    (Path(uri) / "notes.txt").write_text("mine")
    return corpus


def test_orphans_are_found_and_removed(littered):
    assert find_orphans(littered.uri, min_age_s=3600) == {}
    orphans = find_orphans(littered.uri, min_age_s=0)
    assert len(orphans) == 2 * len(littered.fields) + 1
    remove(littered.uri, list(orphans))
    assert find_orphans(littered.uri, min_age_s=0) == {}
    for version in (1, 2):
        open_corpus(littered.uri, version).verify()
    assert len(list(Path(littered.uri, "shards").iterdir())) == len(littered.shards)
    assert Path(littered.uri, "notes.txt").exists()


def test_beside_a_writer_files_come_and_go(littered, monkeypatch):
    """What was listed may have been renamed, or removed, when it is looked at."""
    listed = orphans_module.files.list_files

    def list_then_lose(uri):
        found = listed(uri)
        for path in Path(uri).rglob("*.tmp"):
            path.unlink()
        return found

    monkeypatch.setattr(orphans_module.files, "list_files", list_then_lose)
    orphans = find_orphans(littered.uri, min_age_s=0)
    assert len(orphans) == 2 * len(littered.fields)
    begun = Path(littered.uri, "shards", "begun")
    begun.mkdir()
    gone = next(iter(orphans))
    Path(littered.uri, gone).unlink()
    remove(littered.uri, list(orphans))
    assert begun.exists(), "a writer is about to fill it"
    assert find_orphans(littered.uri, min_age_s=0) == {}


def test_no_corpus(tmp_path):
    with pytest.raises(UserError, match="no corpus here"):
        find_orphans(str(tmp_path / "none"), 0)


def test_verify_finds_a_damaged_key_transform(tiny_corpus, tmp_path, capsys):
    uri = shutil.copytree(tiny_corpus.uri, tmp_path / "c")
    verify = runpy.run_path(str(JOB))["verify"]
    verify(str(uri))
    assert "every checksum is right" in capsys.readouterr().out
    (path,) = Path(uri, "keys").iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged: its checksum is not"):
        verify(str(uri))


def run(*args: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, JOB, *args], capture_output=True, text=True)


def test_the_job(littered, tmp_path):
    info = run("info", littered.uri)
    assert "150 rows in 5 shards" in info.stdout, info.stderr
    assert "every checksum is right" in run("verify", littered.uri).stdout
    table, again = str(tmp_path / "t.parquet"), str(tmp_path / "again")
    assert run("export", littered.uri, table).returncode == 0
    assert "rows=150" in run("import", again, f"[{table}]").stdout
    assert "11 files" in run("gc", littered.uri, "--min_age_hours=0", "--dry_run=true").stdout
    assert "11 files" in run("gc", littered.uri, "--min_age_hours=0").stdout
    failed = run("append", again, f"[{table}]")
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: time: ")
    assert len(failed.stderr.splitlines()) == 1
