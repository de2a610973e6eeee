"""Predictions and appends that go on while things break, and what came of each."""

import itertools
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import requests

ROWS = 5
LABEL = ("answer", "known")
WAIT_S = 120
PREDICTORS = APPENDERS = LABELLERS = 2
Row = dict[str, Any]


@dataclass
class Load:
    """Sends rows and asks for answers until it is ended; what fails is sent again.

    Args:
        client: Asks a service.
        labelled: Rows to append, in turn, under a new id each.
        asked: Rows to predict, again and again.

    Attributes:
        sent: Rows by id, of all that were begun.
        placed: Numbers in the corpus by id, as they were answered.
        answers: Answers to predictions.
        acknowledged_at: When appends were answered and when these were first sent, s.
        failures: What came instead: statuses, or names of errors.
    """

    client: Any
    labelled: list[Row]
    asked: list[Row]
    sent: dict[str, Row] = field(default_factory=dict)
    placed: dict[str, int] = field(default_factory=dict)
    answers: list[dict[str, Any]] = field(default_factory=list)
    acknowledged_at: list[tuple[float, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __enter__(self) -> "Load":
        self._ended, self._lock = threading.Event(), threading.Lock()
        self._next = itertools.count(0, ROWS)
        works = [self._append] * APPENDERS + [self._predict] * PREDICTORS
        works += [self._label] * LABELLERS
        self._threads = [threading.Thread(target=work) for work in works]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Waits until all that was begun is answered."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def seconds_to_append(self, since: float) -> float:
        """Waits for an append that was begun and answered after a time; seconds from it on."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            for done, begun in list(self.acknowledged_at):
                if begun > since:
                    return done - since
            time.sleep(0.02)
        raise AssertionError(f"no append was answered; before: {self.failures}")

    def _next_rows(self) -> tuple[list[str], list[Row]]:
        with self._lock:
            first = next(self._next)
        numbers = range(first, first + ROWS)
        ids = [f"load-{number}" for number in numbers]
        rows = [self.labelled[number % len(self.labelled)] for number in numbers]
        self.sent.update(zip(ids, rows, strict=True))
        return ids, rows

    def _append(self) -> None:
        while not self._ended.is_set():
            ids, rows = self._next_rows()
            begun = time.monotonic()
            said = self._insist("/v1/rows", {"rows": rows, "ids": ids})
            self.acknowledged_at.append((time.monotonic(), begun))
            self.placed.update(zip(said["ids"], said["rows"], strict=True))

    def _label(self) -> None:
        """Asks for answers to rows, then labels these one by one."""
        while not self._ended.is_set():
            ids, rows = self._next_rows()
            asked = [{key: row[key] for key in row if key not in LABEL} for row in rows]
            self._insist("/v1/predict", {"rows": asked, "remember": True, "ids": ids})
            for name, row in zip(ids, rows, strict=True):
                label, known = (row[key] for key in LABEL)
                said = self._insist("/v1/labels", {"id": name, "label": label, "label_time": known})
                self.placed[name] = said["row"]

    def _predict(self) -> None:
        while not self._ended.is_set():
            self.answers.append(self._insist("/v1/predict", {"rows": self.asked, "evidence": 10}))

    def _insist(self, path: str, body: dict[str, Any]) -> Any:
        """Sends the same request until it is answered as it should be."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            try:
                answer = self.client.post(path, body)
            except requests.RequestException as error:
                self.failures.append(type(error).__name__)
            else:
                if answer.status_code == 200:
                    return answer.json()
                self.failures.append(f"{answer.status_code}: {answer.text}")
                assert answer.status_code >= 500, answer.text
            time.sleep(0.1)
        raise AssertionError(f"{path}: not answered; before: {self.failures}")
