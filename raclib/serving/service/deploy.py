"""What a Serve configuration file names: `raclib.serving.service.deploy:app`."""

from typing import Any

from ray.serve import Application

from raclib.run.cli import configure
from raclib.serving.service.config import ServeConfig
from raclib.serving.service.launch import build, resolve


def app(args: dict[str, Any]) -> Application:
    """The application of `args` in the file: options of `jobs/serve.py` by dotted names.

    Raises:
        UserError: if there is no such option, or it may not have this value.
    """
    return build(resolve(configure(ServeConfig, args)))
