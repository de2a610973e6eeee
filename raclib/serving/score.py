"""All rows of a table scored by a trained model, in bounded memory. A killed job continues."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from jsonargparse.typing import NonNegativeInt, PositiveInt

from raclib.corpus import Corpus, open_corpus
from raclib.corpus.atomic import write_atomic
from raclib.corpus.files import exists, read_bytes, remove_folder
from raclib.errors import UserError
from raclib.ingest.files import TableFiles
from raclib.ingest.find import find_files
from raclib.ingest.sources import describe_files, fetch_files
from raclib.run.cluster import connect
from raclib.run.paths import storage
from raclib.run.shared import check_shared
from raclib.serving.find_model import Model, find_model
from raclib.serving.open_predictor import config_of, open_rows
from raclib.serving.score_parts import Scoring, join_parts, score_parts
from raclib.serving.scored import LINE, TIME, scored_schema


@dataclass
class ScoreConfig:
    """Scores all rows of a table by a trained model, with the past rows that decided each."""

    run: str
    """The model: the folder of a run on a table or on reviews, such as runs/table, or its model in
    MLflow, such as runs:/<id>/model."""
    data: str | list[str]
    """Rows with the columns that the model was trained on, with labels or without: files of any
    kind that jobs/train_table.py takes. Each is predicted by what was known when it happened."""
    out: str
    """Parquet file, a path or fsspec URI, with a row for each of theirs, in their order."""
    evidence: NonNegativeInt = 0
    """Rows of the corpus that decided an answer, at most, as lists beside it."""
    keep: list[str] = field(default_factory=list)
    """Columns of the table that are written beside the answers, such as an id."""
    version: PositiveInt | None = None
    """Version of the corpus; by default the newest when the job begins."""
    num_workers: PositiveInt = 1
    """Processes that score; each holds the keys of the corpus."""
    rows_per_part: PositiveInt = 8192
    """Rows that are scored at a time, and not again when a killed job continues."""


def score(config: ScoreConfig) -> str:
    """Scores all rows; what is finished waits in `<out>.staging` until all are.

    Returns:
        What was done, in a line.

    Raises:
        UserError: if there is no such run or table, a column is missing, a value does not fit,
            there is something at `out`, or an unfinished job there was told something else.
    """
    out = storage(config.out)
    staging = f"{out}.staging"
    if exists(out):
        raise UserError(f"out: {out}: is there already; remove it, or give another --out")
    model, given = find_model(config.run), find_files(config.data)
    connect(config.num_workers)
    check_shared(out=out.rpartition("/")[0])
    downloads = f"{config_of(model).storage_path}/downloads"
    files = TableFiles(tuple(fetch_files(given, downloads)))
    corpus = _begin(config, model, staging, describe_files(given, downloads, False))
    scoring = _plan(config, model, staging, corpus, files)
    num_parts = score_parts(scoring, files, config.num_workers)
    num_rows, num_null = join_parts(scoring, num_parts, out)
    remove_folder(staging)
    rest = f"; {num_null:,} of them null, whose time cannot be read" if num_null else ""
    return f"{num_rows:,} rows scored by version {corpus.version} of the corpus, in {out}{rest}"


def _begin(config: ScoreConfig, model: Model, staging: str, data: dict[str, Any]) -> Corpus:
    """The version of the corpus that rows are scored by: that of the job that is continued."""
    uri = config_of(model).corpus_uri
    told = {**asdict(config), "data": data}
    told = {name: told[name] for name in ("run", "data", "evidence", "keep", "rows_per_part")}
    plan = f"{staging}/plan.json"
    if not exists(plan):
        corpus = open_corpus(uri, config.version)
        with write_atomic(plan) as file:
            file.write(json.dumps({**told, "version": corpus.version}).encode())
        return corpus
    found = json.loads(read_bytes(plan))
    told["version"] = config.version or found["version"]
    for name, value in told.items():
        if found.get(name) != value:
            raise UserError(
                f"{name}: another than that of the unfinished job in {staging}; give the same, or "
                "remove that folder to start again"
            )
    return open_corpus(uri, found["version"])


def _plan(
    config: ScoreConfig, model: Model, staging: str, corpus: Corpus, files: TableFiles
) -> Scoring:
    rows, schema = open_rows(model, corpus), files.schema()
    for name in (*rows.inputs, *config.keep):
        if name not in schema.names:
            known = ", ".join(schema.names)
            raise UserError(f"data: no column is called {name!r}; the table has {known}")
    for name in {LINE, TIME} & set(config.keep):
        raise UserError(f"keep: {name!r} is the name of another column of what is written")
    has_base = config_of(model).reader == "copy"
    written = scored_schema(schema, config.keep, rows, has_base, config.evidence)
    columns = tuple(dict.fromkeys((*rows.inputs, *config.keep)))
    return Scoring(
        model,
        corpus.version,
        staging,
        written,
        columns,
        tuple(config.keep),
        config.evidence,
        config.rows_per_part,
    )
