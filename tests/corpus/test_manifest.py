import json
from dataclasses import replace

import pytest

from raclib.corpus.manifest import Field, FileInfo, Manifest, ShardInfo
from raclib.errors import UserError

FIELDS = {"label": Field("int8"), "time": Field("int64")}


def make_manifest() -> Manifest:
    files = {"label": FileInfo(300, "0" * 32), "time": FileInfo(400, "f" * 32)}
    shard = ShardInfo("00-ab", 10, (5, 9), files)
    return Manifest(3, FIELDS, (shard,), {"encoder": {"name": "e", "dims": [1, 2]}})


def test_survives_json():
    manifest = make_manifest()
    assert Manifest.from_bytes(manifest.to_bytes(), "m") == manifest
    shard = manifest.shards[0]
    assert ShardInfo.from_json(json.loads(json.dumps(shard.to_json()))) == shard
    assert FileInfo.from_json(shard.files["label"].to_json()) == shard.files["label"]


def test_any_flipped_bit_is_found():
    """Where the parts still agree too: in the provenance, or a time range within the others."""
    data = make_manifest().to_bytes()
    for place in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(UserError, match=r"^name\.json: "):
            Manifest.from_bytes(bytes(flipped), "name.json")


def test_an_older_manifest_without_a_checksum_is_read():
    manifest = make_manifest()
    value = json.loads(manifest.to_bytes())
    del value["checksum"]
    assert Manifest.from_bytes(json.dumps(value).encode(), "m") == manifest


def test_absent_tokens_are_left_out():
    """Manifests of fields that were never added are the same bytes as ever."""
    manifest = make_manifest()
    value = json.loads(manifest.to_bytes())
    assert list(value["shards"][0]["files"]["label"]) == ["num_bytes", "checksum"]
    files = {**manifest.shards[0].files, "label": FileInfo(300, "0" * 32, "0123456789ab")}
    shards = (replace(manifest.shards[0], files=files),)
    added = replace(manifest, shards=shards, provenance={"nothing": None})
    assert Manifest.from_bytes(added.to_bytes(), "m") == added
    assert added.shards[0].path("label") == "shards/00-ab/label-0123456789ab.npy"
    assert added.shards[0].path("time") == "shards/00-ab/time.npy"


def edit(path: tuple, value) -> bytes:
    """The manifest's JSON with one value replaced."""
    root = json.loads(make_manifest().to_bytes())
    del root["checksum"]  # older manifests have none
    place = root
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(root).encode()


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("shards", 0, "id"), "../../etc/passwd", "shard id"),
        (("shards", 0, "id"), "/etc", "shard id"),
        (("shards", 0, "id"), "..", "shard id"),
        (("shards", 0, "num_rows"), 2**60, "rows"),
        (("shards", 0, "num_rows"), 10**6, "do not hold"),
        (("shards", 0, "num_rows"), 0, "rows"),
        (("shards", 0, "num_rows"), "10", "num_rows"),
        (("shards", 0, "num_rows"), True, "num_rows"),
        (("shards", 0, "time_range"), [9, 5], "reversed"),
        (("shards", 0, "files", "label", "num_bytes"), 2**50, "do not hold"),
        (("shards", 0, "files", "label", "checksum"), "x", "checksum"),
        (("shards", 0, "files", "label", "token"), "../../x", "token"),
        (("shards", 0, "files", "label", "token"), 1, "token"),
        (("shards", 0, "files", "../label"), {"num_bytes": 1, "checksum": "0" * 32}, "fields"),
        (("fields", "label", "shape"), [2**40, 2**40], "shape"),
        (("fields", "label", "shape"), [-1], "shape"),
        (("fields", "label", "shape"), [1] * 40, "shape"),
        (("fields", "label", "dtype"), "object", "dtype"),
        (("fields", "label", "dtype"), "O8; import os", "dtype"),
        (("fields", "time", "dtype"), "int32", "time"),
        (("fields", "a/b"), {"dtype": "int8", "shape": []}, "field 'a/b'"),
        (("num_rows",), 11, "num_rows"),
        (("time_range",), [0, 9], "time_range"),
        (("version",), 0, "version"),
        (("format",), 2, "format"),
        (("surprise",), 1, "surprise"),
    ],
)
def test_refuses_what_is_wrong(path, value, said):
    with pytest.raises(UserError, match=said) as caught:
        Manifest.from_bytes(edit(path, value), "name.json")
    assert str(caught.value).startswith("name.json: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"\xff\xfe", b"null", b"[" * 100_000])
def test_refuses_what_is_no_manifest(data):
    with pytest.raises(UserError, match="not a manifest"):
        Manifest.from_bytes(data, "name.json")


def test_refuses_shards_out_of_order():
    shard = make_manifest().shards[0]
    earlier = ShardInfo("01-ab", 10, (0, 4), shard.files)
    with pytest.raises(UserError, match="begins at time 0, before 00-ab ends at 9"):
        Manifest(1, FIELDS, (shard, earlier))
    with pytest.raises(UserError, match="twice"):
        Manifest(1, FIELDS, (shard, shard))


@pytest.mark.parametrize("dtype", ["complex64", "U4", "datetime64[ms]", "nonsense", object])
def test_field_refuses_types(dtype):
    with pytest.raises(UserError, match="cannot be stored"):
        Field(dtype)
