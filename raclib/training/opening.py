"""How a job that trains runs of several seeds under one name begins."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from raclib.run.cluster import connect
from raclib.run.config import RunSettings
from raclib.run.shared import check_shared, check_tracking
from raclib.run.store import open_store
from raclib.run.tracking import RunLogger, environment_tags, flatten, track
from raclib.training.claim import check_claim, claim

Follow = Callable[[str, RunSettings], AbstractContextManager[RunLogger]]


def open_job(config: RunSettings) -> tuple[AbstractContextManager[RunLogger], Follow]:
    """Takes the job's name and joins the cluster.

    Seeds tell runs apart, not jobs: jobs of one seed each may train side by side under one name,
    and a job of all seeds then finds what they did.

    Args:
        config: What the job was told, with absolute paths.

    Returns:
        The job's MLflow run, and a function that gives the nested run of a name and configuration.

    Raises:
        UserError: if the name belongs to a job of other settings.
    """
    run_uri, params = f"{config.storage_path}/{config.name}", flatten(config)
    shared = {name: value for name, value in params.items() if name != "seed"}
    check_claim(run_uri, shared)
    open_store(config.tracking)
    connect(config.num_workers, log_to_driver=True)
    check_tracking(config.tracking)
    check_shared(storage_path=config.storage_path)
    run_id = claim(run_uri, shared)
    begin = partial(track, config.tracking, tags=environment_tags())

    def follow(name: str, mine: RunSettings) -> AbstractContextManager[RunLogger]:
        return begin(name, key=f"{run_id}/{name}", params=flatten(mine))

    return begin(config.name, key=run_id, params=params), follow
