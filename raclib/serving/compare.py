"""What a trained run is worth beside lines that learn less."""

from raclib.evaluation.comparison import Wording, evaluate, report
from raclib.evaluation.lines import NO_CONTEXT, add_ours, make_lines, refittable
from raclib.ingest.base_scores import FeaturesOf
from raclib.ingest.show import say_skipped
from raclib.serving.trained import Trained


def compare(trained: Trained, read: FeaturesOf, wording: Wording) -> None:
    """Prints and logs the comparison: one MLflow run a method.

    Args:
        trained: What the run came to, its MLflow run open.
        read: What a base classifier sees of rows.
        wording: What people are told.
    """
    task, base, ours = trained.task, trained.base, dict(trained.fitted)
    loggers = dict(trained.loggers)
    rows = task.splits.test
    no_context = base.probabilities(rows) if base else ours.pop(NO_CONTEXT).test.probability
    lines = make_lines(task, refittable(task, base, read), no_context)
    methods = add_ours(task, lines, ours)
    for name in methods.keys() - loggers.keys():
        with trained.follow(name) as loggers[name]:
            pass
    report(evaluate(task, methods, wording), lines.chosen, trained.job, loggers, wording)
    if skipped := say_skipped(task.corpus.provenance):
        print(f"left out of the corpus: {skipped}")
