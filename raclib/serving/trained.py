"""A run on a corpus, from rows to trained models: what tables and reviews share."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from torch import Tensor

from raclib.corpus import Corpus, CorpusClient, CorpusStore
from raclib.evaluation.lines import NO_CONTEXT
from raclib.evaluation.ours import RETRIEVAL
from raclib.ingest.show import say_skipped
from raclib.run.cluster import connect
from raclib.run.shared import check_shared, check_tracking
from raclib.run.store import open_store
from raclib.run.tracking import RunLogger, environment_tags, flatten, track
from raclib.tasks.table.base import BaseScores
from raclib.tasks.table.config import TableSettings
from raclib.tasks.table.corpus_task import CorpusTask
from raclib.training.claim import check_claim, claim
from raclib.training.fit import fit
from raclib.training.fitted import Fitted

Config = TypeVar("Config", bound=TableSettings)


@dataclass(frozen=True)
class Trained:
    """What a run came to.

    Attributes:
        task: The corpus as training sees it.
        base: The base classifier; None for the paper's own, which is among `fitted`.
        fitted: Models by name, `RETRIEVAL` among them.
        job: The MLflow run around them, open.
        loggers: Their own, ended.
        follow: Begins, or continues, the MLflow run of a name inside that.
    """

    task: CorpusTask
    base: BaseScores | None
    fitted: dict[str, Fitted]
    job: RunLogger
    loggers: dict[str, RunLogger]
    follow: Callable[[str], AbstractContextManager[RunLogger]]


@contextmanager
def train_run(
    config: Config,
    prepare: Callable[[Config], tuple[Corpus, BaseScores | None]],
    make_task: Callable[[Config, Corpus, CorpusClient, BaseScores | None], CorpusTask],
    log_model: Callable[[str, dict[str, Tensor]], None],
) -> Iterator[Trained]:
    """Prepares the corpus and its base scores, then trains.

    What an interrupted run has done is not done again.

    Args:
        config: Configuration with absolute paths (`run.paths.resolve`).
        prepare: Makes the corpus and the answers of its base classifier, or finds them.
        make_task: Makes the task of a corpus that is served.
        log_model: Logs the weights of the model of a name to the open MLflow run.

    Yields:
        What it came to, inside the MLflow run of the job.

    Raises:
        UserError: for impossible settings, and for what is wrong with the rows.
        SystemExit: after SIGTERM, when the last checkpoint is written.
    """
    run_uri, params = f"{config.storage_path}/{config.name}", flatten(config)
    check_claim(run_uri, params)
    open_store(config.tracking)
    connect(config.num_workers, log_to_driver=True)
    check_tracking(config.tracking)
    check_shared(storage_path=config.storage_path, corpus=config.corpus_uri)
    corpus, base = prepare(config)
    tags = {"corpus_version": str(corpus.version), **environment_tags()}
    if skipped := say_skipped(corpus.provenance):
        tags["skipped"] = skipped
    open_run = partial(track, config.tracking, params=params, tags=tags)

    with ExitStack() as serving:
        servers = CorpusStore.start(corpus, config.num_servers, config.replicas, config.mount)
        task = make_task(config, corpus, serving.enter_context(servers).client(), base)
        # When nothing is left that could be refused: a run that is not begun leaves no trace.
        run_id = claim(run_uri, params)

        def follow(name: str) -> AbstractContextManager[RunLogger]:
            return open_run(name, key=f"{run_id}/{name}")

        with open_run(config.name, key=run_id) as job:
            job.log_dataset(corpus.uri, str(corpus.version), len(corpus))
            loggers, fitted = {}, {}
            for name in (RETRIEVAL,) if base else (NO_CONTEXT, RETRIEVAL):
                with follow(name) as loggers[name]:
                    fitted[name] = fit(task, config, name == RETRIEVAL, loggers[name])
                    log_model(name, fitted[name].weights)
            serving.close()
            yield Trained(task, base, fitted, job, loggers, follow)
