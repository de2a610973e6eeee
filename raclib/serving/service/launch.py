"""Starts a service, and waits until it is ended."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import ceil
from threading import Event
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.config import BackpressureConfig
from ray.serve.schema import LoggingConfig

from raclib.corpus import open_corpus
from raclib.run.cluster import connect
from raclib.run.paths import absolute, storage
from raclib.run.shared import check_shared, check_tracking
from raclib.run.store import open_store
from raclib.serving.find_model import MLFLOW
from raclib.serving.service.bearer import Token
from raclib.serving.service.config import ServeConfig
from raclib.serving.service.replica import Replica, corpus_of
from raclib.serving.service.writer import stop_writer


def resolve(config: ServeConfig) -> ServeConfig:
    """The same with absolute paths: replicas run in folders of their own."""
    run, token = config.run, config.token_file
    return replace(
        config,
        run=run if run.startswith(MLFLOW) else storage(run),
        token_file=token and absolute(token),
        tracking=replace(config.tracking, uri=absolute(config.tracking.uri)),
    )


def build(config: ServeConfig) -> Application:
    """The application, for Ray Serve to run.

    Args:
        config: As `resolve` gives it.
    """
    limits = config.limits
    deployment: Any = serve.deployment(
        serve.ingress()(Replica),
        name="replica",
        num_replicas=config.replicas,
        ray_actor_options={"num_cpus": config.cpus},
        max_ongoing_requests=limits.ongoing,
        max_queued_requests=limits.queued,
        backpressure_config=BackpressureConfig(status_code=503, retry_after_s=1),
        health_check_period_s=2,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=10,
    )
    return deployment.bind(config)


@contextmanager
def service(config: ServeConfig) -> Iterator[str]:
    """Serves while a block lasts, on the cluster that is there or on this machine.

    Args:
        config: As `resolve` gives it.

    Yields:
        Where: replicas hold their keys.

    Raises:
        UserError: for what is wrong with the run, the token or the store of runs.
    """
    if config.token_file:
        Token(config.token_file)
    open_store(config.tracking)
    uri = open_corpus(corpus_of(config)).uri
    connect(ceil(config.replicas * config.cpus))
    check_tracking(config.tracking)
    check_shared(corpus=uri)
    stop_writer(uri)  # one of another configuration
    # Lines of requests tell paths and times; none tells what a row holds.
    quiet = LoggingConfig(log_level="WARNING", enable_access_log=False)
    where = {"host": config.host, "port": config.port}
    serve.start(http_options=where, proxy_location="EveryNode", logging_config=quiet)
    try:
        serve.run(build(config), name=config.name, logging_config=quiet)
        yield f"http://{config.host}:{config.port}"
    finally:
        serve.delete(config.name)
        stop_writer(uri)


def wait_for_end() -> None:
    """Returns after Ctrl-C or SIGTERM."""
    ended = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
