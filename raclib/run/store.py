"""The store in which MLflow keeps runs: opened, and checked before there is work to lose."""

import logging
import os
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from threading import Thread

import requests
import sqlalchemy
from filelock import FileLock, Timeout
from mlflow.entities import Experiment, LifecycleStage
from mlflow.exceptions import MlflowException
from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.tracking import MlflowClient
from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException
from mlflow.utils.uri import get_uri_scheme
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from raclib.corpus.retry import said_if_slow
from raclib.errors import PassingError, UserError
from raclib.run.artifacts import beside, follow
from raclib.run.config import TrackingConfig
from raclib.run.paths import absolute, sqlite_file

# Of a check before work. Later there is work to lose, and MLflow's own wait for four minutes.
FEW_RETRIES = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "8",
}
LOCK_S = 60
QUIET_S = 10.0  # after which it is said that a store does not answer
CONNECT_S = 15  # drivers wait for minutes, or for ever
OTHERS = "give another --tracking.uri, such as sqlite:///mlflow.db or http://HOST:5000"
# What it logs, with tracebacks, it raises too.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def open_store(config: TrackingConfig) -> TrackingConfig:
    """The same with an absolute path, its store checked and its experiment there.

    Raises:
        UserError: as `open_experiment`.
    """
    config = replace(config, uri=absolute(config.uri))
    with _impatient(config.uri):
        open_experiment(config)
    return config


def open_experiment(config: TrackingConfig) -> str:
    """The id of the experiment; it and its store are made if they are not there.

    Raises:
        UserError: if the store does not answer, cannot be written, or the experiment was deleted.
    """
    with _clear_errors(config.uri), _alone(config.uri):
        client = MlflowClient(config.uri)
        found = _find(client, config)
        if found:
            follow(config.uri, found)
            return found.experiment_id
        try:
            return client.create_experiment(config.experiment, beside(config.uri))
        except MlflowException:  # another job may have made it at the same time
            found = _find(client, config)
            if found is None:
                raise
            return found.experiment_id


def find_experiment(config: TrackingConfig) -> Experiment | None:
    """The experiment if it is there; nothing is made.

    Raises:
        UserError: if the store does not answer, or the experiment was deleted.
    """
    file = sqlite_file(config.uri)
    if file and not file.exists():
        return None
    with _impatient(config.uri), _clear_errors(config.uri), _alone(config.uri):
        return _find(MlflowClient(config.uri), config)


def _find(client: MlflowClient, config: TrackingConfig) -> Experiment | None:
    found = client.get_experiment_by_name(config.experiment)
    if found and found.lifecycle_stage == LifecycleStage.DELETED:
        raise UserError(
            f"tracking.experiment: {config.experiment!r} of {config.uri} was deleted; give "
            f"another, or `mlflow experiments restore --experiment-id {found.experiment_id}`"
        )
    return found


@contextmanager
def _clear_errors(uri: str) -> Iterator[None]:
    """Turns what MLflow and its store complain of into one line."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, ImportError, OSError) as error:
        raise UserError(f"tracking.uri: {uri}: {_reason(error)}; {OTHERS}") from error


@contextmanager
def telling(uri: str) -> Iterator[None]:
    """Says that a store does not answer yet; turns it, after MLflow's own wait, into one line.

    Raises:
        PassingError: so that training goes on from its checkpoint. A bug stays one.
    """
    words = f"tracking.uri: {uri}: no answer yet; MLflow tries for some four minutes"
    try:
        with said_if_slow(words, QUIET_S):
            yield
    except (MlflowException, OperationalError, OSError) as error:
        if isinstance(error, MlflowException) and not _is_unanswered(error):
            raise
        what = f"tracking.uri: {uri}: {_reason(error)}"
        raise PassingError(f"{what}; the same command continues when it answers") from error


def _is_unanswered(error: MlflowException) -> bool:
    return isinstance(error.__context__, requests.RequestException | OperationalError)


@contextmanager
def _impatient(uri: str) -> Iterator[None]:
    """Within it a store that does not answer is given up within half a minute."""
    changed = {name: value for name, value in FEW_RETRIES.items() if name not in os.environ}
    os.environ.update(changed)
    try:
        with _clear_errors(uri), _alone(uri):
            if get_uri_scheme(uri) in DATABASE_ENGINES:
                _connect(uri)
        yield
    finally:
        for name in changed:
            del os.environ[name]


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Jobs that make the tables of one file at the same time would break it."""
    file = sqlite_file(uri)
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{file}.lock")
    held = f"tracking.uri: {uri}: another job opens it and holds {lock.lock_file}"
    try:
        with said_if_slow(f"{held}; waiting for up to {LOCK_S} s"):
            lock.acquire(LOCK_S)
    except Timeout:
        raise UserError(f"{held}, for {LOCK_S} s now; end that job, or {OTHERS}") from None
    try:
        yield
    finally:
        lock.release()


def _connect(uri: str) -> None:
    """Raises what is wrong with a database at once, which MLflow tries for minutes.

    On a thread that does not keep the job from ending: some drivers know no time-out, and those of
    others do not count from a connection on.
    """
    done: Future[None] = Future()

    def work() -> None:
        try:
            _look(uri)
            done.set_result(None)
        except Exception as error:
            done.set_exception(error)

    Thread(target=work, daemon=True).start()
    try:
        done.result(CONNECT_S)
    except TimeoutError:
        raise TimeoutError(f"no answer within {CONNECT_S} s") from None


def _look(uri: str) -> None:
    engine = sqlalchemy.create_engine(uri)
    try:
        sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()


def _reason(error: Exception) -> str:
    if isinstance(error, UnsupportedModelRegistryStoreURIException):
        return "MLflow knows no such kind of store"
    if isinstance(error, ImportError):
        return f"the Python module {error.name} is missing; install it"
    failed = error.__context__
    if isinstance(failed, requests.RequestException):
        cause = failed.args[0] if failed.args else failed
        words = str(getattr(cause, "reason", cause)).rpartition(": ")[2]
        return f"no MLflow server answers, {words}; start it"
    return str(getattr(error, "orig", error)).partition("\n")[0][:300]
