"""What a job says last."""

from types import SimpleNamespace

import numpy as np

from raclib.evaluation.comparison import REVIEWS
from raclib.serving import compare as module


def test_skipped_rows_are_said_at_the_end(monkeypatch, capsys):
    for name in ("make_lines", "refittable", "evaluate"):
        monkeypatch.setattr(module, name, lambda *_: SimpleNamespace(chosen={}))
    monkeypatch.setattr(module, "add_ours", lambda *_: {})
    monkeypatch.setattr(module, "report", lambda *_: print("the table"))
    said = {"num_lines": 30, "skipped": {"not valid JSON": 2}}
    trained = SimpleNamespace(
        task=SimpleNamespace(
            corpus=SimpleNamespace(provenance=said), splits=SimpleNamespace(test=np.arange(1))
        ),
        base=SimpleNamespace(probabilities=lambda rows: rows),
        fitted={},
        loggers={},
        job=None,
    )
    module.compare(trained, None, REVIEWS)
    assert capsys.readouterr().out.splitlines() == [
        "the table",
        "left out of the corpus: 2 of 30 rows: not valid JSON (2)",
    ]
