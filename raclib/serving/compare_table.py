"""What a trained run on a table is worth beside lines that learn less."""

from raclib.evaluation.comparison import Wording, evaluate, report
from raclib.evaluation.lines import FITTED, NO_CONTEXT, make_lines, new_base
from raclib.evaluation.refit import Refittable
from raclib.ingest.base_scores import FeatureReader
from raclib.serving.train_table import Trained
from raclib.tasks.table.config import TableConfig


def compare_table(trained: Trained) -> None:
    """Prints and logs the comparison: one MLflow run a method.

    Args:
        trained: What the run came to, its MLflow run open.
    """
    task, loggers = trained.task, dict(trained.loggers)
    ours = {name: fitted.test.probability for name, fitted in trained.fitted.items()}
    rows, base = task.splits.test, trained.base
    no_context = base.probabilities(rows) if base else ours.pop(NO_CONTEXT)
    lines = make_lines(task, _refittable(trained), no_context)
    for name in lines.probabilities.keys() - loggers.keys():
        with trained.follow(name) as loggers[name]:
            pass
    wording = _describe(task.config)
    comparison = evaluate(task, {**lines.probabilities, **ours}, wording)
    report(comparison, lines.chosen, trained.job, loggers, wording)


def _refittable(trained: Trained) -> Refittable:
    """The base classifier, or logistic regression where that is not one to fit again."""
    config, base = trained.task.config.base, trained.base
    if base and config.kind in FITTED:
        return Refittable(config, base.read, base.classifiers)
    return new_base(trained.task, FeatureReader(trained.task.corpus, trained.task.num_codes))


def _describe(config: TableConfig) -> Wording:
    """What the periods and the time of the figure are called."""
    has_dates = config.time_unit != "row"
    what = "time" if has_dates else "row"
    return Wording("before the cutoff", "after the cutoff", f"{what} (dashed: cutoff)", has_dates)
