"""Downloads against a local server that can cut the line, forget Range and change the file."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from raclib.errors import UserError
from raclib.ingest.download import download

DATA = np.random.default_rng(0).bytes(3_000_000)


@dataclass
class Server:
    """What the server does, and what it was asked."""

    url: str = ""
    data: bytes = DATA
    etag: str = '"1"'
    supports_range: bool = True
    cut_after: int | None = None
    status: int | None = None
    encoding: str = ""
    ranges: list[str | None] = field(default_factory=list)
    size: int | None = None
    sent: int = 0


class Handler(BaseHTTPRequestHandler):
    state: Server

    def do_GET(self):
        state, asked = self.state, self.headers["Range"]
        state.ranges.append(asked)
        start = 0
        if state.status:
            self.send_error(state.status)
            return
        if asked and state.supports_range and self.headers["If-Range"] in (None, state.etag):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if asked and start >= len(state.data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(state.data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            total = len(state.data)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if state.etag:
            self.send_header("ETag", state.etag)
        if state.encoding:
            self.send_header("Content-Encoding", state.encoding)
        body = state.data[start:]
        self.send_header("Content-Length", str(state.size or len(body)))
        self.end_headers()
        body = body[: state.cut_after]
        state.sent += len(body)  # before the client can have it all and go on
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()
    handler = type("Handler", (Handler,), {"state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        state.url = f"http://127.0.0.1:{http.server_port}/a/reviews.jsonl.gz"
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        yield state
        http.shutdown()
        thread.join()


def names(folder) -> set[str]:
    return {path.name.partition("-")[2] for path in folder.iterdir()}


def test_downloads_once_and_keeps(server, tmp_path):
    path = download(server.url, tmp_path)
    assert path.read_bytes() == DATA
    assert path.name.endswith("-reviews.jsonl.gz")
    server.data, server.size = b"", len(DATA)  # what is there is not sent again
    assert download(server.url, tmp_path) == path
    assert path.read_bytes() == DATA
    assert names(tmp_path) == {"reviews.jsonl.gz", "reviews.jsonl.gz.version"}


def test_continues_after_the_connection_was_cut(server, tmp_path):
    server.cut_after = 1_000_000
    with pytest.raises(UserError, match=r"broke off .*; run the same command again to continue it"):
        download(server.url, tmp_path)
    assert names(tmp_path) == {"reviews.jsonl.gz.part", "reviews.jsonl.gz.tag"}
    server.cut_after = None
    assert download(server.url, tmp_path).read_bytes() == DATA
    assert server.ranges == [None, "bytes=1000000-"]
    assert server.sent == len(DATA)
    assert names(tmp_path) == {"reviews.jsonl.gz", "reviews.jsonl.gz.version"}


def test_begins_again_where_the_server_ignores_range(server, tmp_path):
    server.cut_after = 1_000_000
    with pytest.raises(UserError):
        download(server.url, tmp_path)
    server.cut_after, server.supports_range = None, False
    assert download(server.url, tmp_path).read_bytes() == DATA


@pytest.mark.parametrize("etag", ['"1"', ""])
def test_a_complete_part_is_finished_without_a_byte_sent(server, tmp_path, etag):
    server.etag = etag
    path = download(server.url, tmp_path)
    path.rename(f"{path}.part")
    server.sent = 0
    assert download(server.url, tmp_path).read_bytes() == DATA
    assert server.sent == 0


def test_begins_again_where_the_file_has_changed(server, tmp_path):
    server.cut_after = 1_000_000
    with pytest.raises(UserError):
        download(server.url, tmp_path)
    server.cut_after, server.etag, server.data = None, '"2"', DATA[::-1]
    assert download(server.url, tmp_path).read_bytes() == DATA[::-1]


def test_begins_again_where_the_file_has_become_shorter(server, tmp_path):
    server.etag, server.cut_after = "", 1_000_000
    with pytest.raises(UserError):
        download(server.url, tmp_path)
    server.cut_after, server.data = None, DATA[:500_000]
    assert download(server.url, tmp_path).read_bytes() == DATA[:500_000]


def test_bytes_are_kept_as_they_are_stored(server, tmp_path):
    server.encoding = "gzip"  # as some servers label every .gz file
    assert download(server.url, tmp_path).read_bytes() == DATA


@pytest.mark.parametrize("status", [403, 404, 500])
def test_refusal_is_an_error_that_leaves_nothing(server, tmp_path, status):
    server.status = status
    url = server.url.replace("http://", "http://user:word@") + "?key=word"
    with pytest.raises(UserError, match=f"the server answered {status} .*; check") as error:
        download(url, tmp_path)
    assert "word" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_no_server_is_an_error(server, tmp_path):
    with pytest.raises(UserError, match="broke off"):
        download("http://127.0.0.1:1/reviews.jsonl", tmp_path)


def test_same_name_at_two_addresses_makes_two_copies(server, tmp_path):
    first = download(server.url, tmp_path)
    server.data = DATA[:10]
    second = download(server.url.replace("/a/", "/b/"), tmp_path)
    assert (len(first.read_bytes()), len(second.read_bytes())) == (len(DATA), 10)


@pytest.mark.parametrize("query", ["?year={}", "?year={}&X-Amz-Signature={}"])
def test_addresses_that_differ_in_their_query_are_two_files(server, tmp_path, query):
    first = download(server.url + query.format(2011, "word"), tmp_path)
    server.data, server.etag = DATA[:10], '"2"'
    second = download(server.url + query.format(2012, "word"), tmp_path)
    assert (len(first.read_bytes()), len(second.read_bytes())) == (len(DATA), 10)


def test_a_renewed_signature_is_the_same_file(server, tmp_path):
    first = download(f"{server.url}?X-Amz-Signature=word", tmp_path)
    server.status = 403  # one that has run out
    assert download(f"{server.url}?X-Amz-Signature=other", tmp_path) == first


@pytest.mark.parametrize(("etag", "data"), [('"2"', DATA[::-1]), ("", DATA[:-1])])
def test_a_file_that_has_changed_since_is_downloaded_again(server, tmp_path, etag, data):
    server.etag = etag and '"1"'
    path = download(server.url, tmp_path)
    # Where nothing else tells, its size does.
    server.etag, server.data, server.cut_after = etag, data, 10
    for _ in range(2):
        with pytest.raises(UserError, match="broke off"):
            download(server.url, tmp_path)
    server.cut_after = None
    assert download(server.url, tmp_path) == path
    assert path.read_bytes() == data
