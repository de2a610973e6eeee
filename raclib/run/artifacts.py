"""Tables, figures and models of runs in an SQLite file lie beside it, also after a move."""

from pathlib import Path

from mlflow.entities import Experiment
from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlLoggedModel, SqlRun
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from raclib.run.paths import sqlite_file

FOLDER = "mlartifacts"
DEFAULT = "mlruns"  # where MLflow itself puts those of an experiment, in the current folder


def beside(uri: str) -> str | None:
    """Where a new experiment keeps its artifacts; None where the store decides."""
    file = sqlite_file(uri)
    return (file.parent / FOLDER).as_uri() if file else None


def follow(uri: str, experiment: Experiment) -> None:
    """Makes an experiment keep its artifacts beside the file of the runs, wherever that lies now.

    Earlier ones are found there if they came along. A place of another name, or one that is still
    there while none is beside the file, stays.

    Args:
        uri: MLflow's URI of the store.
        experiment: One of its experiments.
    """
    file, old = sqlite_file(uri), experiment.artifact_location
    if file is None or not is_local_uri(old):
        return
    place = Path(local_file_uri_to_path(old))
    tail = [place.name] if place.name == FOLDER else [place.parent.name, place.name]
    new = file.parent.joinpath(*tail)
    stays = place.exists() and not new.exists()
    if tail[0] not in (FOLDER, DEFAULT) or stays or new.resolve() == place.resolve():
        return
    store = SqlAlchemyStore(uri, str(new))
    with store.ManagedSessionMaker(read_only=False) as session:
        for table, column in (
            (SqlExperiment, "artifact_location"),
            (SqlRun, "artifact_uri"),
            (SqlLoggedModel, "artifact_location"),
        ):
            for row in session.query(table).filter_by(experiment_id=int(experiment.experiment_id)):
                before = getattr(row, column)
                now = new.as_uri() + before.removeprefix(old)
                came = Path(local_file_uri_to_path(now)).exists()
                if before.startswith(old) and (came or before == old):
                    setattr(row, column, now)
