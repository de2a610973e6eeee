"""A benchmark is worth something only if every contender fetches the same rows."""

from contextlib import ExitStack

import numpy as np
import pytest

from raclib.corpus import bench


def as_rows(found) -> np.ndarray:
    """What a contender gave, as an array of bytes."""
    if isinstance(found, dict):
        return found["row"]
    if isinstance(found, list):
        return np.stack([np.frombuffer(item, np.uint8) for item in found])
    return found if isinstance(found, np.ndarray) else np.stack(found["row"].to_numpy())


@pytest.mark.parametrize("kind", ["uniform", "zipf"])
def test_contenders_agree(ray_cluster, bucket, tmp_path, kind):
    local = bench.make_corpus(str(tmp_path / "c"), 48, 48_000, 10**9)
    remote = bench.make_corpus(f"{bucket}/bench", 48, 48_000, 300)
    assert len(remote.shards) == 4
    whole = local.read("row")
    np.testing.assert_array_equal(remote.read("row"), whole)
    ids = next(bench.draw_ids(kind, 1000, 64))
    with ExitStack() as stack:
        contenders = bench.local_contenders(local, stack) | bench.remote_contenders(
            remote, tmp_path
        )
        for name, contender in contenders.items():
            np.testing.assert_array_equal(as_rows(contender()(ids)), whole[ids], err_msg=name)


def test_measures_and_summarises():
    batches = bench.draw_ids("uniform", 100, 10)
    times = bench.measure(lambda: lambda ids: ids.sum(), batches, seconds=0.001, warm_up=2)
    found = bench.summarise("sum", "uniform", 8, 10, [0.001, 0.002, 0.003])
    assert len(times) >= 5
    assert (found.p50_ms, found.rows_per_s) == (2.0, 5000.0)
