"""What a trained run on a table is worth beside lines that learn less."""

from raclib.evaluation.comparison import Wording, evaluate, report
from raclib.evaluation.lines import NO_CONTEXT, add_ours, make_lines, refittable
from raclib.ingest.base_scores import FeatureReader
from raclib.serving.train_table import Trained
from raclib.tasks.table.config import TableConfig


def compare_table(trained: Trained) -> None:
    """Prints and logs the comparison: one MLflow run a method.

    Args:
        trained: What the run came to, its MLflow run open.
    """
    task, base, ours = trained.task, trained.base, dict(trained.fitted)
    loggers = dict(trained.loggers)
    rows = task.splits.test
    no_context = base.probabilities(rows) if base else ours.pop(NO_CONTEXT).test.probability
    read = FeatureReader(task.corpus, task.num_codes)
    lines = make_lines(task, refittable(task, base, read), no_context)
    methods = add_ours(task, lines, ours, base is not None)
    for name in methods.keys() - loggers.keys():
        with trained.follow(name) as loggers[name]:
            pass
    wording = _describe(task.config)
    report(evaluate(task, methods, wording), lines.chosen, trained.job, loggers, wording)


def _describe(config: TableConfig) -> Wording:
    """What the periods and the time of the figure are called."""
    has_dates = config.time_unit != "row"
    what = "time" if has_dates else "row"
    return Wording("before the cutoff", "after the cutoff", f"{what} (dashed: cutoff)", has_dates)
