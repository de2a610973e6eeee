"""What is known of files: enough to tell any two apart, and no secret."""

import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from raclib.errors import UserError
from raclib.ingest import checksums
from raclib.ingest.identity import changed_file
from raclib.ingest.sources import FileSource, describe_files, fetch_files


def describe(*uris: object, folder: str = "", is_published: bool = False) -> dict:
    source = FileSource.of([*map(str, uris)], lambda *_: iter(()))
    found = source.describe(folder, is_published)
    assert "word" not in json.dumps(found)
    return found


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "names", [("part#1.jsonl", "part#2.jsonl"), ("x/r.jsonl", "y/r.jsonl"), ("a?1", "a?2")]
)
def test_local_files_of_one_size_are_told_apart(tmp_path, names):
    first, second = (write(tmp_path / name, text) for name, text in zip(names, "ab", strict=True))
    assert changed_file(describe(first), describe(second)) == second.name
    assert changed_file(describe(first, second), describe(second, first)) == second.name
    assert changed_file(describe(first), describe(first)) is None
    assert str(tmp_path) not in json.dumps(describe(first))


@pytest.fixture
def settled(monkeypatch):
    """Files count as old enough for their times to tell of a change."""
    monkeypatch.setattr(checksums, "RACY_S", -1.0)


def test_a_file_that_nobody_touched_is_not_read_again(tmp_path, settled):
    path, folder = write(tmp_path / "a", "as it was"), str(tmp_path / "kept")
    before = describe(path, folder=folder)
    (record,) = (tmp_path / "kept").iterdir()
    record.write_text(record.read_text().replace(before["files"][0]["xxh3_128"], "0" * 32))
    assert describe(path, folder=folder)["files"][0]["xxh3_128"] == "0" * 32


@pytest.mark.parametrize("how", ["in place", "with its time put back", "by another file"])
def test_a_mended_file_of_one_size_is_noticed(tmp_path, settled, how):
    path, folder = write(tmp_path / "a", "as it was"), str(tmp_path / "kept")
    before, times = describe(path, folder=folder), path.stat()
    time.sleep(0.05)  # longer than a tick of the clock by which files are dated
    if how == "by another file":
        write(tmp_path / "b", "as it is ").replace(path)
    else:
        path.write_text("as it is ")
    if how != "in place":
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    for _ in range(2):
        assert changed_file(before, describe(path, folder=folder)) == "a"


def test_a_file_written_a_moment_ago_may_be_written_again_in_that_moment(tmp_path):
    describe(write(tmp_path / "a", "a"), folder=str(tmp_path / "kept"))
    assert not (tmp_path / "kept").exists()


def test_checksums_are_taken_where_none_can_be_kept(tmp_path, settled):
    path, folder = write(tmp_path / "a", "a"), write(tmp_path / "file", "")
    assert describe(path, folder=f"{folder}/kept") == describe(path, folder=str(tmp_path / "kept"))


def test_a_file_given_twice_is_refused(tmp_path):
    path = write(tmp_path / "a", "a")
    with pytest.raises(UserError, match="a: given twice; its rows would count twice"):
        describe(path, path)
    with pytest.raises(UserError, match="http://h/a: given twice"):
        describe("http://h/a?sig=word", "http://h/a?sig=other")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        data = self.server.files.get(self.path.partition("&sig=")[0])
        self.send_response(200 if data else 403)
        self.send_header("Content-Length", str(len(data or b"")))
        self.send_header("ETag", f'"{hash(data)}"')
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, *args):
        pass


@pytest.fixture
def web():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files = {}
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.files, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_files_of_the_web_are_known_by_their_whole_address_and_content(web, tmp_path):
    files, host = web
    folder = str(tmp_path / "downloads")
    names = ["/export?year=2011", "/export?year=2012", "/a/r.jsonl", "/b/r.jsonl"]
    files.update({name: name.encode() for name in names})
    urls = [f"{host}{name}" for name in names]
    copies = fetch_files(urls, folder)
    assert [Path(copy).read_bytes().decode() for copy in copies] == names
    made = describe(*urls, folder=folder)
    assert [file["name"] for file in made["files"]] == urls
    assert changed_file(made, describe(*urls, folder=folder)) is None
    assert changed_file(made, describe(*reversed(urls), folder=folder)) == urls[-1]


def test_a_published_corpus_needs_no_copy_to_see_a_change(web, tmp_path):
    files, host = web
    files["/export?year=2011"] = b"as it was"
    url, folder, elsewhere = f"{host}/export?year=2011", str(tmp_path / "d"), "memory://d"
    made = describe(f"{url}&sig=word", folder=folder)
    with pytest.raises(UserError, match="storage_path: memory://d is not on this machine"):
        describe(url, folder=elsewhere)
    again = describe_files([f"{url}&sig=other"], elsewhere, is_published=True)
    assert changed_file(made, again) is None
    files["/export?year=2011"] = b"as it is "
    for place in (folder, elsewhere):
        again = describe_files([url], place, is_published=True)
        assert changed_file(made, again) == url
    # A signature that ran out, a server that is down: what is here goes on.
    files.clear()
    for place in (folder, elsewhere):
        again = describe_files([f"{url}&sig=word"], place, is_published=True)
        assert changed_file(made, again) is None
