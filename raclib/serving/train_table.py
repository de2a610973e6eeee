"""A run on a table, from its files to a trained model: what a job and the estimator share."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

from raclib.corpus import CorpusStore
from raclib.evaluation.lines import NO_CONTEXT
from raclib.evaluation.ours import RETRIEVAL
from raclib.run.cluster import connect
from raclib.run.shared import check_shared, check_tracking
from raclib.run.tracking import RunLogger, environment_tags, flatten, track
from raclib.serving.table_model import log_table_model
from raclib.tasks.table.base import BaseScores, prepare_base
from raclib.tasks.table.config import TableConfig
from raclib.tasks.table.recipe import prepare_table
from raclib.tasks.table.task import TableTask
from raclib.training.claim import check_claim, claim
from raclib.training.fit import fit
from raclib.training.fitted import Fitted


@dataclass(frozen=True)
class Trained:
    """What a run on a table came to.

    Attributes:
        task: The table as training sees it.
        base: The base classifier; None for the paper's own, which is among `fitted`.
        fitted: Models by name, `RETRIEVAL` among them.
        job: The MLflow run around them, open.
        loggers: Their own, ended.
        follow: Begins, or continues, the MLflow run of a name inside that.
    """

    task: TableTask
    base: BaseScores | None
    fitted: dict[str, Fitted]
    job: RunLogger
    loggers: dict[str, RunLogger]
    follow: Callable[[str], AbstractContextManager[RunLogger]]


@contextmanager
def train_table(config: TableConfig) -> Iterator[Trained]:
    """Prepares the corpus and its base scores, trains, and logs the model with retrieval.

    What an interrupted run has done is not done again.

    Args:
        config: Configuration with absolute paths (`run.paths.resolve`).

    Yields:
        What it came to, inside the MLflow run of the job.

    Raises:
        UserError: for impossible settings, and for what is wrong with the table.
        SystemExit: after SIGTERM, when the last checkpoint is written.
    """
    run_uri, params = f"{config.storage_path}/{config.name}", flatten(config)
    check_claim(run_uri, params)
    connect(config.num_workers, log_to_driver=True)
    check_tracking(config.tracking)
    check_shared(storage_path=config.storage_path, corpus=config.corpus_uri)
    corpus, base = prepare_base(config, prepare_table(config))
    tags = {"corpus_version": str(corpus.version), **environment_tags()}
    open_run = partial(track, config.tracking, params=params, tags=tags)

    def follow(name: str) -> AbstractContextManager[RunLogger]:
        return open_run(name, key=f"{run_uri}/{name}")

    with open_run(config.name, key=run_uri) as job:
        job.log_dataset(corpus.uri, str(corpus.version), len(corpus))
        loggers, fitted = {}, {}
        with CorpusStore.start(corpus, config.num_servers, config.replicas, config.mount) as store:
            task = TableTask(config, corpus, store.client(), base)
            claim(run_uri, params)
            for name in (RETRIEVAL,) if base else (NO_CONTEXT, RETRIEVAL):
                with follow(name) as loggers[name]:
                    fitted[name] = fit(task, config, name == RETRIEVAL, loggers[name])
                    if name == RETRIEVAL:
                        log_table_model(config, fitted[name].weights)
        yield Trained(task, base, fitted, job, loggers, follow)
