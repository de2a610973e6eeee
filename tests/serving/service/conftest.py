"""A service of a small table on a local Ray, and what asks it; makes the load importable."""

import json
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests

from raclib.run.config import TrackingConfig
from raclib.serving.service.config import LimitsConfig, ServeConfig, WriterConfig

sys.path.insert(0, str(Path(__file__).parent))
INPUTS = ["happened", "a", "noise", "kind", "shop_id", "words", "place"]


@dataclass(frozen=True)
class Client:
    """Asks a service.

    Attributes:
        address: Where.
        config: What it was told.
        corpus: URI of its corpus.
    """

    address: str
    config: ServeConfig
    corpus: str

    def post(self, path: str, body: Any, **options: Any) -> requests.Response:
        return requests.post(f"{self.address}{path}", json=body, timeout=60, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(f"{self.address}{path}", timeout=60, **options)

    def ask(self, path: str, **body: Any) -> Any:
        """What is answered to a request that is right."""
        answer = self.post(path, body)
        assert answer.status_code == 200, answer.text
        return answer.json()


def as_json(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as a request has them."""
    return json.loads(rows.to_json(orient="records", date_format="iso"))


@pytest.fixture(scope="session")
def to_rows():
    """Gives rows as a request has them: without label for those to predict."""

    def rows(table: pd.DataFrame, with_label: bool = False) -> list[dict[str, Any]]:
        return as_json(table if with_label else table[INPUTS])

    return rows


@pytest.fixture(scope="session")
def copy_run(shared_classifier):
    """Gives the folder of a run like that of the classifier, with a corpus of its own."""
    config = shared_classifier.config_

    def copy(folder: Path) -> str:
        run = shutil.copytree(f"{config.storage_path}/{config.name}", folder / "run")
        corpus = shutil.copytree(config.corpus_uri, folder / "corpus")
        settings = json.loads((run / "settings.json").read_text())
        (run / "settings.json").write_text(json.dumps({**settings, "corpus": str(corpus)}))
        return str(run)

    return copy


@pytest.fixture(scope="session")
def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="session")
def serve_config(copy_run, new_store, free_port, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    return ServeConfig(
        run=copy_run(folder),
        port=free_port,
        replicas=2,
        cpus=0.5,
        limits=LimitsConfig(rows=200, bytes=2**20, seconds=60, evidence=10),
        writer=WriterConfig(seconds=0.1),
        tracking=TrackingConfig(new_store(folder), "serving"),
    )


@pytest.fixture(scope="session")
def served(ray_cluster, serve_config):
    """Two replicas that answer, and their corpus may grow."""
    from ray import serve

    from raclib.serving.service.launch import service

    with service(serve_config) as address:
        yield Client(address, serve_config, str(Path(serve_config.run).parent / "corpus"))
    serve.shutdown()
