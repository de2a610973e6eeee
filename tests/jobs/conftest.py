"""Jobs as people start them: their own processes, a small configuration."""

from pathlib import Path

import pytest


@pytest.fixture
def tiny_file(write_tiny, tmp_path) -> Path:
    """The tiny configuration, its results under `tmp_path`."""
    return write_tiny(tmp_path)
