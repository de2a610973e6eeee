"""The command line: what is accepted, what is refused, and in which words."""

import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
from botocore.exceptions import EndpointConnectionError

from raclib.errors import PassingError, UserError
from raclib.ingest.config import date_to_ms
from raclib.run.cli import find_mistake, parse
from raclib.tasks.amazon.config import AmazonConfig
from raclib.tasks.needle.config import NeedleConfig
from raclib.tasks.rotating.config import RotatingConfig
from raclib.tasks.table.config import TableConfig

CONFIGS = Path(__file__).parents[2] / "configs"
QUICKSTART = CONFIGS / "amazon_quickstart.yaml"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("amazon_*.yaml")), ids=lambda path: path.stem)
def test_committed_configs_parse_and_hold_no_local_path(path):
    config = parse(AmazonConfig, path, [])
    assert config.name == path.stem
    assert config.reviews is None
    assert "/" not in path.read_text().replace("Qwen/Qwen3", "")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("[nr]*.yaml")), ids=lambda path: path.stem)
def test_configs_of_generated_tasks_parse(path):
    kind = NeedleConfig if path.stem.startswith("needle") else RotatingConfig
    config = parse(kind, path, [])
    assert config.name == path.stem
    assert config.retrieval.max_temperature == 1.0


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("table_*.yaml")), ids=lambda path: path.stem)
def test_configs_of_tables_parse_and_name_no_file(path):
    config = parse(TableConfig, path, [])
    assert f"table_{config.name}" == path.stem
    assert config.data is None


def test_numbers_are_built_in_ones_also_in_lists():
    config = parse(TableConfig, None, ["--evaluate.num_neighbours", "[3, 4]"])
    assert config.evaluate.num_neighbours == [3, 4]
    assert {type(value) for value in config.evaluate.num_neighbours} == {int}
    assert type(config.evaluate.num_refits) is int


def test_dotted_options_override_the_file():
    config = parse(AmazonConfig, QUICKSTART, ["--train.batch_size", "32", "--reviews", "a.jsonl"])
    assert config.train.batch_size == 32
    assert config.reviews == "a.jsonl"
    assert config.generated is not None


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--train.batch_size", "-1"], ["train.batch_size", "-1"]),
        (["--train.batch_sise", "8"], ["train.batch_sise"]),
        (["--retrieval.estimator", "magic"], ["retrieval.estimator", "magic", "greedy"]),
        (["--retrieval.input_dropout", "1.5"], ["retrieval.input_dropout", "1.5"]),
        (["--model.num_heads", "7"], ["num_heads", "7", "512", "divisor"]),
        (["--rule.cutoff", "soon"], ["soon", "2014-01-01"]),
        (["--retrieval.estimator", "rloo"], ["num_sets", "rloo", "at least 2"]),
        (["--retrieval.min_temperature", "1"], ["min_temperature", "1.0", "max_temperature"]),
        (["--config", "nowhere.yaml"], ["nowhere.yaml"]),
    ],
)
def test_wrong_options_end_in_one_line_and_exit_code_2(args, words, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(AmazonConfig, QUICKSTART, args)
    lines = capsys.readouterr().err.strip().splitlines()
    assert stop.value.code == 2
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert all(word in lines[0] for word in words)


def test_help_explains_every_field(capsys):
    with pytest.raises(SystemExit):
        parse(AmazonConfig, QUICKSTART, ["--help"])
    text = capsys.readouterr().out

    def check(cls, prefix):
        for field in fields(cls):
            if is_dataclass(field.type):
                check(field.type, f"{prefix}{field.name}.")
            else:
                entry = re.search(rf"\n  --{prefix}{field.name}[ ,](.*?)(?=\n  --|\Z)", text, re.S)
                assert entry, f"{prefix}{field.name} is not in the help"
                assert "(type:" in entry[1]
                assert len(entry[1].split("(type:")[0].split()) > 3, "no explanation"

    check(AmazonConfig, "")


def test_numbers_are_plain_so_that_checkpoints_and_files_can_hold_them():
    config = parse(AmazonConfig, QUICKSTART, ["--train.learning_rate", "0.01"])
    assert type(config.train.learning_rate) is float
    assert type(config.train.batch_size) is int
    assert type(config.generated.num_reviews) is int
    assert config.strict is False


def test_dates_are_utc():
    assert date_to_ms("2014-01-01") == 1388534400000


def test_a_mistake_is_found_behind_wrappers_and_a_bug_is_not():
    class WrapperError(Exception):
        def __init__(self, failures):
            self.worker_failures = failures

    assert str(find_mistake(WrapperError({0: UserError("num_draws: 0")}))) == "num_draws: 0"
    assert find_mistake(WrapperError({0: ZeroDivisionError()})) is None
    assert find_mistake(ValueError("a bug")) is None
    down = find_mistake(WrapperError({0: PassingError("the store is down\nFailed to apply UDF")}))
    assert (type(down), str(down)) == (PassingError, "the store is down")
    refused = EndpointConnectionError(endpoint_url="http://store")
    assert find_mistake(refused) is refused, "one line, not a traceback"


@pytest.mark.parametrize(
    ("option", "uri", "rest"),
    [
        ("tracking.uri", "http://me:word@host:5000", "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACK"),
        ("tracking.uri", "postgresql://me:wo/rd@host/db", "MLFLOW_TRACKING_USERNAME and MLFLOW_TR"),
        ("corpus", "s3://id:wo/rd@bucket/corpus", "the environment or the provider's own files"),
        ("storage_path", "s3://id:word@bucket", "the environment or the provider's own files"),
    ],
)
@pytest.mark.parametrize("config", [AmazonConfig, TableConfig])
def test_credentials_in_a_uri_are_one_line_without_them(capsys, config, option, uri, rest):
    with pytest.raises(SystemExit) as stop:
        parse(config, None, [f"--{option}={uri}"])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    scheme = uri.partition(":")[0]
    shown = f"{option}: {scheme}://...@...: a URI may not carry credentials; set them in {rest}"
    assert line.startswith(f"error: {shown}")
    assert "word" not in line and "wo/rd" not in line
