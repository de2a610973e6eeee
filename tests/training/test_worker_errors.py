"""What a worker met decides whether training is tried again."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from raclib.corpus import CorpusStore, open_corpus
from raclib.errors import PassingError, UserError
from raclib.tasks.amazon.task import AmazonTask
from raclib.training import worker
from raclib.training.examples import Order, stream_examples
from raclib.training.fit import fit


def met_in_a_task(error: Exception) -> Exception:
    """What a worker gets where a task that reads examples for it met an error."""

    def read(rows):
        raise error

    order = Order(np.arange(4), batch_size=2, num_epochs=1, seed=0)
    with pytest.raises(Exception, match=str(error)) as caught:
        list(stream_examples(order, read, 0, 0, 1))
    assert type(caught.value) is not type(error)
    return caught.value


@pytest.fixture
def run(monkeypatch):
    """Runs a worker that meets an error."""

    def run(error: Exception) -> dict:
        class Meets:
            def __init__(self, assignment):
                raise error

        monkeypatch.setattr(worker, "Worker", Meets)
        return worker.run_worker(None)

    return run


def test_a_mistake_met_in_a_reading_task_is_returned(ray_cluster, run):
    error = met_in_a_task(UserError("rows of shard 1 cannot be read: restore the file"))
    assert run(error) == {"error": "rows of shard 1 cannot be read: restore the file"}


def test_a_fault_of_a_store_met_in_a_reading_task_is_raised(ray_cluster, run):
    error = met_in_a_task(PassingError("the store is down"))
    with pytest.raises(PassingError):
        run(error)


@pytest.mark.parametrize("error", [PassingError("the store is down"), OSError(5, "disk")])
def test_what_passes_is_raised(run, error):
    with pytest.raises(type(error)):
        run(error)


def test_a_bug_is_raised(ray_cluster, run):
    with pytest.raises(ZeroDivisionError):
        run(met_in_a_task(ZeroDivisionError("bug")))


@pytest.mark.slow
def test_damaged_keys_end_training_at_once(ray_cluster, tiny_corpus, tiny_run, logger, tmp_path):
    """Without context nothing but the tasks that read examples reads keys."""
    starts = tmp_path / "starts"

    class Counting(AmazonTask):  # local, so that workers get it by value
        def build_model(self, with_context):
            with starts.open("a") as file:
                file.write("x")
            return super().build_model(with_context)

    copy = open_corpus(shutil.copytree(tiny_corpus.uri, tmp_path / "copy"))
    for shard in copy.shards:
        path = Path(copy.uri, shard.path("key"))
        data = bytearray(path.read_bytes())
        data[130] ^= 1
        path.write_bytes(data)
    with CorpusStore.start(copy, 1) as store, pytest.raises(UserError) as caught:
        fit(Counting(tiny_run(), copy, store.client(local=False)), tiny_run(), False, logger)
    assert "key.npy: checksum mismatch in rows 0 to " in str(caught.value)
    assert str(caught.value).startswith("rows of shard ")
    assert "\n" not in str(caught.value)
    assert starts.read_text() == "x"
