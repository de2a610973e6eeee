"""What a trained run on a table is worth beside lines that learn less."""

from raclib.evaluation.comparison import Wording
from raclib.ingest.base_scores import FeatureReader
from raclib.serving.compare import compare
from raclib.serving.trained import Trained
from raclib.tasks.table.config import TableConfig
from raclib.tasks.table.task import TableTask


def compare_table(trained: Trained) -> None:
    """Prints and logs the comparison of a run of `train_table`, its MLflow run open."""
    task = trained.task
    assert isinstance(task, TableTask)
    compare(trained, FeatureReader(task.corpus, task.num_codes), _describe(task.config))


def _describe(config: TableConfig) -> Wording:
    """What the periods and the time of the figure are called."""
    has_dates = config.time_unit != "row"
    what = "time" if has_dates else "row"
    return Wording("before the cutoff", "after the cutoff", f"{what} (dashed: cutoff)", has_dates)
