"""Jobs as people start them: their own processes, a small configuration."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def write_tiny(tiny_config):
    """Writes the tiny configuration to a folder, which also gets the results."""

    def write(folder: Path) -> Path:
        config = replace(
            tiny_config,
            storage_path=str(folder / "runs"),
            corpus=None,
            tracking=replace(tiny_config.tracking, uri=f"sqlite:///{folder / 'mlflow.db'}"),
        )
        path = folder / "tiny.yaml"
        path.write_text(json.dumps(asdict(config)))
        return path

    return write


@pytest.fixture
def tiny_file(write_tiny, tmp_path) -> Path:
    """The tiny configuration, its results under `tmp_path`."""
    return write_tiny(tmp_path)
