#!/usr/bin/env python3
"""Serves a trained model over HTTP: scores, the past rows that decided them, labels taken in."""

from raclib.run.cli import main
from raclib.serving.service.config import ServeConfig


def run(config: ServeConfig) -> None:
    """Serves until it is ended."""
    # Here, not above: --help needs none of it.
    from raclib.serving.service.launch import resolve, service, wait_for_end

    with service(resolve(config)) as address:
        print(f"serving at {address}; Ctrl-C ends it", flush=True)
        wait_for_end()


if __name__ == "__main__":
    main(run, ServeConfig, None)
