"""What of a URL may be stored, compared and printed."""

import pytest

from raclib.corpus.files import normalise
from raclib.corpus.urls import public_name, refuse_credentials, without_secrets
from raclib.errors import UserError

HOST = "https://host.example:80/a/b.jsonl.gz"
S3 = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={0}%2Fs3&X-Amz-Date={0}&X-Amz-Expires=60"
SIGNED = {
    "S3": f"{S3}&X-Amz-Security-Token={{0}}&X-Amz-SignedHeaders=host&X-Amz-Signature={{0}}",
    "S3 of old": "AWSAccessKeyId={0}&Expires={0}&Signature={0}",
    "GCS": "X-Goog-Credential={0}&X-Goog-Date={0}&X-Goog-Signature={0}",
    "GCS of old": "GoogleAccessId={0}&Expires={0}&Signature={0}",
    "Azure": "sv=2024&st={0}&se={0}&sr=b&sp=r&skoid={0}&sig={0}",
    "CloudFront": "Expires={0}&Policy={0}&Key-Pair-Id={0}&Signature={0}",
    "token": "access_token={0}",
    "key": "api-key={0}&key={0}&code={0}",
    "SharePoint": "tempauth={0}",
}


@pytest.mark.parametrize("query", SIGNED.values(), ids=SIGNED)
def test_a_renewed_signature_changes_no_name(query):
    found = {public_name(f"{HOST}?{query.format(value)}#word") for value in ("word", "other")}
    assert found == {HOST}


def test_what_tells_files_apart_stays():
    urls = [f"{HOST}?year={year}&st=CA&X-AMZ-signature=word" for year in (2011, 2012)]
    assert [*map(public_name, urls)] == [f"{HOST}?year=2011", f"{HOST}?year=2012"]
    assert public_name(f"{HOST}?st=CA&sp=a%20b&expires=1") == f"{HOST}?st=CA&sp=a%20b&expires=1"
    assert public_name("HTTP://user:word@h/a?author=me") == "http://h/a?author=me"


@pytest.mark.parametrize("path", ["/data/a#1?sig=2.jsonl", "s3://bucket/a?b#c", "a::b", "x:y@z"])
def test_a_path_stays(path):
    assert public_name(path) == path


def test_every_url_of_a_value_is_cleaned():
    signed = f"{HOST}?sig=word"
    assert without_secrets({"a": [signed, 1, None], "b": {"c": signed}, "d": (signed,)}) == {
        "a": [HOST, 1, None],
        "b": {"c": HOST},
        "d": [HOST],
    }


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://id:word@bucket/corpus", "s3://...@..."),
        ("s3://id:wo/rd@bucket/corpus", "s3://...@..."),
        ("http://word@host:5000", "http://...@..."),
        ("postgresql+psycopg://user:wo/rd@host:1/db", "postgresql+psycopg://...@..."),
        ("postgresql://host/db?user=me&password=word", "postgresql://...?..."),
        ("https://host/corpus?sig=word", "https://...?..."),
        ("simplecache::s3://id:word@bucket/corpus", "simplecache::s3://...@..."),
    ],
)
def test_credentials_are_refused(uri, shown):
    with pytest.raises(UserError) as error:
        refuse_credentials(uri, "corpus")
    assert str(error.value) == (
        f"corpus: {shown}: a URI may not carry credentials; set them in the environment or the "
        "provider's own files"
    )
    with pytest.raises(UserError, match="may not carry credentials"):
        normalise(uri)


@pytest.mark.parametrize(
    "uri",
    ["/a@b/c:d@e", "s3://bucket/a@b/x:y@z", "http://host:5000/a@b", "sqlite:////home/a@b/c:d.db"],
)
def test_an_at_in_a_path_is_no_credential(uri):
    refuse_credentials(uri)
