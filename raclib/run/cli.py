"""The command line of every job: one typed configuration, errors of one line."""

import os
import sys
from argparse import ArgumentError
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from raclib.corpus.faults import STORE_ERRORS
from raclib.errors import UserError

Config = TypeVar("Config")

# Options are explained by the docstrings under the fields of the configuration.
set_parsing_settings(docstring_parse_attribute_docstrings=True)


def main(run: Callable[[Config], object], config_class: type[Config], default: Path | None) -> None:
    """Parses the command line into a `config_class`, runs the job and turns mistakes into one line.

    Exits with 2 where the command line is wrong, with 1 where the run met a mistake.

    Args:
        run: The job.
        config_class: Dataclass of everything the job can be told.
        default: YAML file that holds when no `--config` is given; None if there is none.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    config = parse(config_class, default)
    with one_line_errors():
        run(config)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns a mistake in the block into one line and exit code 1; a bug keeps its traceback."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        mistake = find_mistake(error)
        if mistake is None:
            raise
        _exit(1, str(mistake) or type(mistake).__name__)


def parse(
    config_class: type[Config], default: Path | None, args: list[str] | None = None
) -> Config:
    """The configuration of a YAML file and of dotted overrides; exits with 2 where it is wrong."""
    given = sys.argv[1:] if args is None else args
    if default and not any(arg.split("=")[0] == "--config" for arg in given):
        given = [f"--config={default}", *given]
    parser = _parser(config_class)
    try:
        return _build(config_class, parser, parser.parse_args(given))
    except (ArgumentError, UserError) as error:
        _exit(2, f"{error} (--help explains every option)")


def configure(config_class: type[Config], overrides: Mapping[str, object]) -> Config:
    """The configuration of dotted overrides, such as `{"train.num_epochs": 3}`.

    Raises:
        UserError: if there is no such option, or it may not have this value.
    """
    parser = _parser(config_class)
    try:
        return _build(config_class, parser, parser.parse_object(dict(overrides)))
    except (ArgumentError, KeyError) as error:
        raise UserError(" ".join(str(error).split())) from None


def find_mistake(error: BaseException | None) -> BaseException | None:
    """What of an error is no bug, also behind the wrappers of Ray tasks, Ray Data and Ray Train.

    Returns:
        A UserError as it was raised, of one line; an error of the system or a store, or what ends
        a job by hand, as it is; None for a bug.
    """
    while error is not None:
        wrapped = getattr(error, "cause", None)
        if wrapped is None and isinstance(error, UserError):
            # Ray Data appends lines of its own to the one line of a UserError.
            return type(error)(str(error).partition("\n")[0])
        if wrapped is None and isinstance(error, (*STORE_ERRORS, KeyboardInterrupt)):
            return error
        failures = getattr(error, "worker_failures", None)
        inner = next(iter(failures.values())) if failures else wrapped or error.__cause__
        error = inner or getattr(error, "controller_failure", None)
    return None


def find_user_error(error: BaseException) -> UserError | None:
    """The UserError behind an error; None if it is another one."""
    mistake = find_mistake(error)
    return mistake if isinstance(mistake, UserError) else None


def _parser(config_class: type[Config]) -> ArgumentParser:
    parser = ArgumentParser(
        description=config_class.__doc__,
        usage="%(prog)s [--config FILE] [--option VALUE ...]",
        exit_on_error=False,
    )
    parser.add_argument("--config", action="config", help="YAML file; later options override it.")
    parser.add_class_arguments(config_class)
    return parser


def _build(config_class: type[Config], parser: ArgumentParser, parsed: Namespace) -> Config:
    values = parser.instantiate_classes(parsed).as_dict()
    return _plain(config_class(**{name: values[name] for name in values if name != "config"}))


def _plain(config: Config) -> Config:
    """The same with built-in numbers: the parser's own types belong in no checkpoint or file."""
    for field in fields(config):  # type: ignore[arg-type]
        value = getattr(config, field.name)
        if is_dataclass(value):
            _plain(value)
        elif isinstance(value, list):
            setattr(config, field.name, [_plain_number(part) for part in value])
        else:
            setattr(config, field.name, _plain_number(value))
    return config


def _plain_number(value: Any) -> Any:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return value
    return int(value) if isinstance(value, int) else float(value)


def _exit(code: int, message: str) -> NoReturn:
    print("error:", " ".join(message.split()), file=sys.stderr)
    sys.exit(code)
