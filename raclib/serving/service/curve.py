"""How served answers do, as a curve in MLflow that grows while they are served."""

import logging
from threading import Event, Thread

from raclib.errors import UserError
from raclib.run.tracking import RunLogger, environment_tags, flatten, track
from raclib.serving.service.config import ServeConfig
from raclib.serving.service.outcomes import Outcomes

logger = logging.getLogger(__name__)


class Curve:
    """Logs scores now and then, in a thread of its own: nothing that is served waits for MLflow.

    Args:
        config: Where, how often, and over how many labels.
        corpus_uri: The run goes on when the same corpus is served again under the same name.
    """

    def __init__(self, config: ServeConfig, corpus_uri: str) -> None:
        self._config, self._key = config, f"{corpus_uri}/{config.name}"
        self._outcomes: Outcomes | None = None
        self._logged = 0
        self._new, self._ended = Event(), Event()
        Thread(target=self._run, name="curve", daemon=True).start()

    def show(self, outcomes: Outcomes) -> None:
        """There may be labels that came since."""
        self._outcomes = outcomes
        self._new.set()

    def _run(self) -> None:
        while True:
            self._new.wait()
            self._new.clear()
            outcomes = self._outcomes
            if outcomes is not None and outcomes.total > self._logged:
                try:
                    self._log(outcomes)
                except UserError as error:
                    logger.error("%s", error)
            self._ended.wait(self._config.quality.log_every_s)

    def _log(self, outcomes: Outcomes) -> None:
        num_labels, found = outcomes.total, outcomes.last(self._config.quality.window)
        points = {
            f"{method}/{name}": value
            for method, scores in found.items()
            for name, value in scores.items()
        }
        self._open().log(points, num_labels)
        self._logged = num_labels

    def _open(self) -> RunLogger:
        """The run of the service, which is continued; each time, so that none is left open."""
        config = self._config
        params, tags = flatten(config), environment_tags()
        with track(config.tracking, config.name, self._key, params, tags) as run:
            return run
