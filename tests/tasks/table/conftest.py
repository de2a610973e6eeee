"""The making of a corpus without Ray, so that it can be done many times, and its task."""

from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from raclib.corpus.mounts import choose_mount
from raclib.corpus.reader import ShardReader
from raclib.ingest import prepare, sort
from raclib.ingest.tally import Tally
from raclib.models.base import linear
from raclib.tasks.table import recipe
from raclib.tasks.table.task import TableTask


class _Rows:
    """What is asked of a Ray Dataset: blocks sorted, batch by batch."""

    def __init__(self, tables):
        self.table = pa.concat_tables(tables)

    def sort(self, names):
        self.table = self.table.sort_by([(name, "ascending") for name in names])
        return self

    def iter_batches(self, batch_size, batch_format):
        return map(pa.table, self.table.to_batches(batch_size))


def _read(source, recipe, staging):
    tally = Tally()
    tables = list(source.batches(tally))
    staging.write("tally", tally.to_json())
    return tables, tally.num_rows


def _run_shards(name, noun, work, stage, staging, layout, **options):
    todo = set(range(len(layout.num_rows))) - set(staging.finished(stage))
    for shard in sorted(todo):
        found = work({"shard": np.array([shard])})
        assert found if isinstance(found, dict) else list(found)


@pytest.fixture(scope="session")
def without_ray():
    """A context in which a corpus is prepared in this process; gives the warnings."""

    @contextmanager
    def patch():
        warnings = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sort, "_read", _read)
            patch.setattr(sort, "ray", SimpleNamespace(data=SimpleNamespace(from_arrow_refs=_Rows)))
            patch.setattr(prepare, "_run_shards", _run_shards)
            patch.setattr(prepare, "ray", SimpleNamespace(cluster_resources=dict))
            patch.setattr(recipe, "warn", lambda text: warnings.append(text) if text else None)
            # A base that is fitted in a moment: how well it is fitted matters to no test here.
            patch.setattr(linear, "INVERSE_PENALTIES", (1.0,))
            patch.setattr(linear, "MAX_STEPS", 4)
            yield warnings

    return patch


class Client:
    """Fetches rows in this process."""

    def __init__(self, corpus):
        self.mount = choose_mount(corpus, "auto")
        self.take = partial(ShardReader(self.mount).take, corpus)

    def fetch(self, rows, fields, timeout):
        return self.take(rows, fields)


@pytest.fixture(scope="session")
def make_task():
    """The task of a corpus, which fetches in this process."""
    return lambda config, corpus, base=None: TableTask(config, corpus, Client(corpus), base)
