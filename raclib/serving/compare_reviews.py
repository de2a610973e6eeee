"""A run on reviews, from files to a comparison: a classifier with retrieval and one without."""

from functools import partial

from raclib.corpus import CorpusStore
from raclib.evaluation.comparison import REVIEWS, evaluate, report
from raclib.evaluation.lines import NO_CONTEXT, make_lines, new_base
from raclib.run.cluster import connect
from raclib.run.shared import check_shared, check_tracking
from raclib.run.tracking import environment_tags, flatten, track
from raclib.serving.model import log_model
from raclib.tasks.amazon.base import ReviewFeatures
from raclib.tasks.amazon.config import AmazonConfig
from raclib.tasks.amazon.corpus import prepare_reviews
from raclib.tasks.amazon.task import AmazonTask
from raclib.training.claim import check_claim, claim
from raclib.training.fit import fit

CONTEXT = {NO_CONTEXT: False, "retrieval": True}


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
    corpus = prepare_reviews(config)
    tags = {"corpus_version": str(corpus.version), **environment_tags()}
    follow = partial(track, config.tracking, params=params, tags=tags)

    with follow(config.name, key=run_uri) as job:
        job.log_dataset(corpus.uri, str(corpus.version), len(corpus))
        loggers, ours = {}, {}
        with CorpusStore.start(corpus, config.num_servers, config.replicas, config.mount) as store:
            task = AmazonTask(config, corpus, store.client())
            claim(run_uri, params)
            for name, with_context in CONTEXT.items():
                with follow(name, key=f"{run_uri}/{name}") as loggers[name]:
                    fitted = fit(task, config, with_context, loggers[name])
                    ours[name] = fitted.test.probability
                    log_model(config, fitted.weights)
        base = new_base(task, ReviewFeatures(corpus))
        lines = make_lines(task, base, ours.pop(NO_CONTEXT))
        for name in lines.probabilities.keys() - loggers.keys():
            with follow(name, key=f"{run_uri}/{name}") as loggers[name]:
                pass
        comparison = evaluate(task, {**lines.probabilities, **ours}, REVIEWS)
        report(comparison, lines.chosen, job, loggers, REVIEWS)
