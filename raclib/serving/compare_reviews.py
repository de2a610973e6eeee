"""A run on reviews, from files to a comparison: a classifier with retrieval and one without."""

from functools import partial

from raclib.corpus import CorpusStore
from raclib.evaluation.comparison import REVIEWS, evaluate, report
from raclib.evaluation.lines import NO_CONTEXT, add_ours, make_lines, refittable
from raclib.evaluation.ours import RETRIEVAL
from raclib.run.cluster import connect
from raclib.run.shared import check_shared, check_tracking
from raclib.run.tracking import environment_tags, flatten, track
from raclib.serving.model import log_model
from raclib.tasks.amazon.base import ReviewFeatures, prepare_review_base
from raclib.tasks.amazon.config import AmazonConfig
from raclib.tasks.amazon.corpus import prepare_reviews
from raclib.tasks.amazon.task import AmazonTask
from raclib.training.claim import check_claim, claim
from raclib.training.fit import fit


def compare_reviews(config: AmazonConfig) -> None:
    """Prepares the corpus, trains both classifiers, compares them with simpler lines.

    What an interrupted run has done is not done again.

    Args:
        config: Configuration with absolute paths (`run.paths.resolve`).
    """
    run_uri, params = f"{config.storage_path}/{config.name}", flatten(config)
    check_claim(run_uri, params)
    connect(config.num_workers, log_to_driver=True)
    check_tracking(config.tracking)
    check_shared(storage_path=config.storage_path, corpus=config.corpus_uri)
    corpus, base = prepare_review_base(config, prepare_reviews(config))
    tags = {"corpus_version": str(corpus.version), **environment_tags()}
    follow = partial(track, config.tracking, params=params, tags=tags)

    with follow(config.name, key=run_uri) as job:
        job.log_dataset(corpus.uri, str(corpus.version), len(corpus))
        loggers, ours = {}, {}
        with CorpusStore.start(corpus, config.num_servers, config.replicas, config.mount) as store:
            task = AmazonTask(config, corpus, store.client(), base)
            claim(run_uri, params)
            for name in (RETRIEVAL,) if base else (NO_CONTEXT, RETRIEVAL):
                with follow(name, key=f"{run_uri}/{name}") as loggers[name]:
                    ours[name] = fit(task, config, name == RETRIEVAL, loggers[name])
                    log_model(config, ours[name].weights)
        rows = task.splits.test
        no_context = base.probabilities(rows) if base else ours.pop(NO_CONTEXT).test.probability
        lines = make_lines(task, refittable(task, base, ReviewFeatures(corpus)), no_context)
        methods = add_ours(task, lines, ours, base is not None)
        for name in methods.keys() - loggers.keys():
            with follow(name, key=f"{run_uri}/{name}") as loggers[name]:
                pass
        report(evaluate(task, methods, REVIEWS), lines.chosen, job, loggers, REVIEWS)
