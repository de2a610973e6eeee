"""The order of examples, and their way through Ray Data."""

import time

import numpy as np
import pytest

from raclib.training.examples import Order, stream_examples

ORDER = Order(rows=np.arange(0, 206, 2), batch_size=10, num_epochs=3, seed=5)


def test_an_epoch_is_a_permutation_without_its_tail():
    steps, positions = np.divmod(np.arange(3 * 100), 10)
    epochs = ORDER.at(steps, positions).reshape(3, 100)
    assert ORDER.num_steps == 30
    for epoch in epochs:
        assert len(np.unique(epoch)) == 100
        assert np.isin(epoch, ORDER.rows).all()
    assert (epochs[0] != epochs[1]).any()


@pytest.mark.parametrize(("start", "num_workers"), [(0, 1), (7, 1), (29, 2), (4, 5)])
def test_workers_together_get_every_global_batch_in_order(ray_cluster, start, num_workers):
    shares = [
        list(
            stream_examples(
                ORDER, lambda rows: {"row": rows, "twice": 2.0 * rows}, start, rank, num_workers
            )
        )
        for rank in range(num_workers)
    ]
    assert {len(share) for share in shares} == {30 - start}
    for step in range(start, 30):
        batch = np.concatenate([share[step - start]["row"] for share in shares])
        expected = ORDER.at(np.full(10, step), np.arange(10))
        np.testing.assert_array_equal(batch, expected)
        np.testing.assert_array_equal(
            shares[0][step - start]["twice"], 2.0 * batch[: 10 // num_workers]
        )


def test_a_finished_run_has_no_batches(ray_cluster):
    assert list(stream_examples(ORDER, lambda rows: {"row": rows}, 30, 0, 1)) == []


def test_examples_are_read_where_no_core_is_left(ray_cluster):
    @ray_cluster.remote(num_cpus=ray_cluster.cluster_resources()["CPU"])
    def read_all():
        order = Order(np.arange(256), 32, 2, 0)
        return sum(
            len(batch["id"]) for batch in stream_examples(order, lambda rows: {"id": rows}, 0, 0, 1)
        )

    assert ray_cluster.get(read_all.remote(), timeout=100) == 512


def test_reading_ahead_leaves_the_processor_to_training(ray_cluster):
    order = Order(np.arange(12_000), batch_size=192, num_epochs=30, seed=0)
    values = np.zeros((1536, 320), np.float32)
    batches = stream_examples(order, lambda rows: {"values": values[: len(rows)]}, 0, 0, 1)
    next(batches)
    time.sleep(4)  # enough to read ahead as far as Ray Data does
    began, used = time.monotonic(), time.process_time()
    time.sleep(2)
    assert time.process_time() - used < 0.6 * (time.monotonic() - began)
    batches.close()
