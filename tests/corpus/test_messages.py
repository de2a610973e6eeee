"""What a store or disk refuses, in one line that names it and what to do."""

import inspect
import os
import stat

import pytest
from botocore.exceptions import ClientError
from s3fs.errors import translate_boto_error

from raclib.corpus import CorpusClient, open_corpus
from raclib.corpus.atomic import create_exclusive, write_atomic
from raclib.corpus.files import clear_errors
from raclib.corpus.remote import RangeReader
from raclib.corpus.retry import REQUEST_S, RETRY_S
from raclib.corpus.tables import import_tables
from raclib.errors import PassingError, UserError
from raclib.training.claim import check_claim
from raclib.training.fitted import find_fitted


@pytest.mark.parametrize(
    ("attempt", "place"),
    [
        (find_fitted, "/fitted.pt"),
        (lambda uri: check_claim(uri, {}), "/settings.json"),
        (lambda uri: import_tables([f"{uri}/t.parquet"], f"{uri}/c"), "/t.parquet"),
    ],
    ids=["fitted", "claim", "table"],
)
def test_a_refused_look_names_the_place(bucket, proxy, attempt, place):
    """The answer to HEAD says nothing but 403."""
    proxy.fault = lambda method, path: "denied" if method == "HEAD" else None
    uri = f"{bucket}/runs/mine"
    with pytest.raises(UserError) as caught:
        attempt(uri)
    assert str(caught.value) == (f"{uri}{place}: access denied (Forbidden); check your credentials")


def test_a_refusal_without_a_message_is_named_by_its_code():
    """As Ceph's gateway answers."""
    answer = {"Error": {"Code": "AccessDenied", "Message": None}}
    with pytest.raises(UserError) as caught, clear_errors("s3://b/c"):
        raise translate_boto_error(ClientError(answer, "GetObject"))
    assert str(caught.value) == "s3://b/c: access denied (AccessDenied); check your credentials"


def test_a_missing_bucket_is_named(proxy):
    with pytest.raises(UserError) as caught:
        open_corpus("s3://no-such-bucket-here/c")
    assert str(caught.value) == (
        "s3://no-such-bucket-here: there is no such bucket; create it or check the address"
    )


def test_a_server_gives_its_store_up_before_its_client_gives_it_up():
    """So the error tells of the store that hangs, not of a server that does not answer."""
    timeout = inspect.signature(CorpusClient.fetch).parameters["timeout"].default
    assert timeout > RETRY_S + REQUEST_S


def test_a_store_that_hangs_is_named(bucket, proxy, monkeypatch):
    monkeypatch.setattr("raclib.corpus.remote.REQUEST_S", 0.2)
    monkeypatch.setattr("raclib.corpus.retry.RETRY_S", 0.3)
    proxy.fault = lambda method, path: "stall"
    with pytest.raises(PassingError) as caught:
        RangeReader().read(f"{bucket}/file", [(0, 9)])
    assert str(caught.value) == (
        f"{bucket}/file: no answer in time; try again when store and network are well"
    )


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_files_have_the_rights_that_the_umask_leaves(tmp_path, mask):
    before = os.umask(mask)
    try:
        with write_atomic(str(tmp_path / "a")) as file:
            file.write(b"x")
        create_exclusive(str(tmp_path / "b"), b"x")
    finally:
        os.umask(before)
    for name in "ab":
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~mask
