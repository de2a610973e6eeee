"""A benchmark is worth something only if every contender fetches the same rows."""

from contextlib import ExitStack
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from raclib.bench import fetch
from raclib.bench.contenders import local_contenders, remote_contenders


def as_rows(found) -> np.ndarray:
    """What a contender gave, as an array of bytes."""
    if isinstance(found, dict):
        return found["row"]
    if isinstance(found, list):
        return np.stack([np.frombuffer(item, np.uint8) for item in found])
    return found if isinstance(found, np.ndarray) else np.stack(found["row"].to_numpy())


@pytest.mark.parametrize("kind", ["uniform", "zipf"])
def test_contenders_agree(ray_cluster, bucket, tmp_path, kind):
    local = fetch.make_corpus(str(tmp_path / "c"), 48, 48_000, 10**9)
    sharded = fetch.make_corpus(str(tmp_path / "s"), 48, 48_000, 250)
    remote = fetch.make_corpus(f"{bucket}/bench", 48, 48_000, 300)
    assert len(remote.shards) == 4
    whole = local.read("row")
    np.testing.assert_array_equal(remote.read("row"), whole)
    ids = next(fetch.draw_ids(kind, 1000, 64))
    with ExitStack() as stack:
        contenders = local_contenders(local, sharded, stack)
        contenders |= remote_contenders(remote, tmp_path)
        for name, contender in contenders.items():
            np.testing.assert_array_equal(as_rows(contender()(ids)), whole[ids], err_msg=name)


def test_contenders_take_turns():
    asked = []
    contenders = {name: lambda name=name: lambda ids: asked.append(name) for name in "ab"}
    batches = fetch.draw_ids("uniform", 100, 10)
    times = fetch.measure(contenders, batches, seconds=0, cold=True)
    assert {name: len(taken) for name, taken in times.items()} == {"a": 5, "b": 5}
    assert asked == ["a", "b"] * 5


def test_summarises_and_compares():
    ours = fetch.summarise("local", "uniform", 8, 10, [0.001, 0.002, 0.003])
    theirs = fetch.summarise("numpy.take", "uniform", 8, 10, [0.001, 0.001])
    assert (ours.p50_ms, ours.rows_per_s) == (2.0, 5000.0)
    found = fetch.ratios(pd.DataFrame([asdict(ours), asdict(theirs)]))
    assert found.to_dict("list") == {"local / numpy.take": [0.5]}
