"""An object store that is stopped and started: what reads and writes it waits, and is right."""

import os
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
import s3fs

from raclib.corpus import CorpusStore, open_corpus
from raclib.errors import PassingError
from raclib.run.tracking import RunLogger
from raclib.tasks.amazon.task import AmazonTask
from raclib.training.fit import fit

ALL = ("embedding", "pair", "label", "flag", "time")
DOWN_S = 0.5


@pytest.fixture(scope="module")
def remote(bucket, rows, write_corpus):
    """The 5000 rows, in the bucket."""
    return write_corpus(f"{bucket}/outage", rows, 1200)


def test_fetches_wait(ray_cluster, remote, rows, same, proxy, tmp_path):
    folder = str(tmp_path)
    with CorpusStore.start(remote, 1, mount="range", cache_dir=folder, cache_bytes=1) as store:
        client, ids = store.client(local=False), np.arange(0, 5000, 7)
        proxy.stop_for(DOWN_S)
        assert same(client.fetch(ids, ALL), rows, ids)


def test_reads_and_appends_wait(bucket, make_rows, write_corpus, proxy):
    uri, rows = f"{bucket}/grown", make_rows(30)
    write_corpus(uri, rows, 20)
    proxy.stop_for(DOWN_S)
    assert open_corpus(uri).read("label").tobytes() == rows["label"].tobytes()
    proxy.stop_for(DOWN_S)
    corpus = write_corpus(uri, make_rows(20, start_time=50), 20, mode="append")
    assert (corpus.version, len(corpus)) == (2, 50)
    corpus.verify()


def test_an_append_stopped_between_its_requests(bucket, make_rows, write_corpus, proxy):
    """Whichever of them meets it."""
    corpus = write_corpus(f"{bucket}/between", make_rows(20), 20)
    for version in (2, 3):
        count = iter(range(version, 10**9))
        proxy.fault = lambda method, path, count=count: "503" if next(count) % 3 == 0 else None
        rows = make_rows(20, start_time=100 * version)
        corpus = write_corpus(corpus.uri, rows, 20, mode="append")
        assert corpus.version == version
    proxy.reset()
    corpus.verify()


@pytest.fixture
def hasty(monkeypatch):
    """What passes is waited out for a moment only."""
    monkeypatch.setattr("raclib.corpus.retry.RETRY_S", 0.3)
    monkeypatch.setattr("raclib.corpus.retry.QUIET_S", 0.0)
    monkeypatch.setattr("raclib.corpus.retry._say", print)


def test_what_is_waited_for_is_said_and_given_up(remote, proxy, hasty, capsys):
    proxy.stop()
    try:
        with pytest.raises(PassingError) as caught:
            open_corpus(remote.uri)
    finally:
        proxy.start()
    reason = f'Could not connect to the endpoint URL: "{os.environ["AWS_ENDPOINT_URL"]}/'
    assert str(caught.value).startswith(f"{remote.uri}/manifests: {reason}")
    assert str(caught.value).endswith("; try again when store and network are well")
    assert f"{remote.uri}/manifests: {reason}" in capsys.readouterr().out


@pytest.fixture(scope="module")
def tiny_remote(tiny_corpus, bucket):
    """The tiny corpus, in the bucket."""
    s3fs.S3FileSystem().put(tiny_corpus.uri, f"{bucket}/tiny", recursive=True)
    return open_corpus(f"{bucket}/tiny")


@pytest.mark.slow
def test_training_restarts_from_its_checkpoint(
    ray_cluster, tiny_remote, tiny_run, logger, proxy, tmp_path
):
    """An outage longer than a server waits fails the worker, not the run."""

    class Breaker(RunLogger):  # local, so that workers get it by value
        def log(self, metrics, step=0, rank=0):
            super().log(metrics, step, rank)
            marker = Path(self.uri.removeprefix("sqlite:///")).with_suffix(".broken")
            if step == 10 and not marker.exists():
                marker.touch()
                with suppress(OSError):
                    urlopen(f"{os.environ['AWS_ENDPOINT_URL']}/down/4")

    def hurry(server) -> None:
        from raclib.corpus import retry

        retry.RETRY_S = 0.5

    folder = str(tmp_path / "cache")
    with CorpusStore.start(tiny_remote, 1, mount="range", cache_dir=folder, cache_bytes=1) as store:
        (server,) = store.routing.servers
        ray_cluster.get(server.__ray_call__.remote(hurry))
        task = AmazonTask(tiny_run(), store.corpus, store.client(local=False))
        fitted = fit(task, tiny_run(), True, Breaker(*astuple(logger)))
    assert np.isfinite(fitted.test.probability).all()
    from mlflow.tracking import MlflowClient

    points = MlflowClient(logger.uri).get_metric_history(logger.run_id, "loss")
    steps = [point.step for point in sorted(points, key=lambda point: point.timestamp)]
    assert steps[-8:] == [*range(9, 17)]
    assert len(steps) > 16
