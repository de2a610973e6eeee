"""What goes into the artifact of a model."""

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import mlflow
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema

from raclib.run.cli import parse
from raclib.serving.log import log_pyfunc
from raclib.tasks.table.config import TableConfig


def test_the_artifact_holds_no_signature(monkeypatch):
    found = []

    def log_model(*, artifacts: dict[str, str], **_: object) -> None:
        config = Path(url2pathname(urlsplit(artifacts["config"]).path))
        found.append(config.read_text())
        assert parse(TableConfig, config, []).data == "https://host/a.csv?year=1"

    monkeypatch.setattr(mlflow.pyfunc, "log_model", log_model)
    config = TableConfig(data="https://me:word@host/a.csv?year=1&X-Amz-Signature=word")
    log_pyfunc("model.py", config, {}, ModelSignature(Schema([ColSpec("string", "a")])))
    assert len(found) == 1 and "word" not in found[0]
