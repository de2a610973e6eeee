"""The base classifier's scores as a field of the corpus."""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np
from tqdm import tqdm
from xxhash import xxh3_64_hexdigest, xxh3_128_hexdigest

from raclib.corpus import Corpus, Field, add_field
from raclib.corpus.atomic import write_atomic
from raclib.corpus.files import read_bytes
from raclib.corpus.mounts import choose_mount
from raclib.corpus.reader import ShardReader
from raclib.errors import UserError
from raclib.models.base import BaseConfig, Features, FittedBase, OutOfFold, out_of_fold

BASE = "base"
"""The field: see `FittedBase.compress`."""
SEED = 0  # runs of several seeds share one corpus


class FeatureReader:
    """Reads what a base classifier sees of rows of a corpus.

    Args:
        corpus: A corpus of a table.
        num_codes: Codes of each category, that of missing ones among them.
    """

    def __init__(self, corpus: Corpus, num_codes: tuple[int, ...]) -> None:
        self.corpus, self.num_codes = corpus, num_codes
        self._shards = ShardReader(choose_mount(corpus, "auto"))
        wanted = ("numbers", "categories", "embedding", "score")
        self._fields = tuple(name for name in wanted if name in corpus.fields)

    def __reduce__(self) -> tuple[Any, ...]:
        return FeatureReader, (self.corpus, self.num_codes)

    @property
    def checksum(self) -> str:
        """Differs where features do."""
        return checksum_of(self.corpus, self._fields)

    def __call__(self, rows: np.ndarray) -> Features:
        """Features of rows by id."""
        found = self._shards.take(self.corpus, rows, self._fields)
        return to_features(found, self.num_codes, len(rows))


def checksum_of(corpus: Corpus, fields: tuple[str, ...]) -> str:
    """Differs where rows of these fields do, 32 hexadecimal digits."""
    sums = [shard.files[name].checksum for shard in corpus.shards for name in fields]
    return xxh3_128_hexdigest(json.dumps([fields, sums]).encode())


def to_features(
    rows: Mapping[str, np.ndarray], num_codes: tuple[int, ...], num_rows: int
) -> Features:
    """Encoded rows as a base classifier sees them."""
    score = rows.get("score")
    return Features(
        rows.get("numbers", np.empty((num_rows, 0))).astype(np.float32),
        rows.get("categories", np.empty((num_rows, 0), np.int32)),
        num_codes,
        rows.get("embedding"),
        score[:, 0] if score is not None and score.shape[1] == 1 else score,
    )


class FeaturesOf(Protocol):
    """Reads what a base classifier sees of rows; can be pickled."""

    @property
    def checksum(self) -> str:
        """Differs where features do."""

    def __call__(self, rows: np.ndarray) -> Features:
        """Features of rows by id."""


def with_base(
    corpus: Corpus, config: BaseConfig, num_codes: tuple[int, ...], num_classes: int, cutoff: int
) -> tuple[Corpus, OutOfFold]:
    """`add_base` for the corpus of a table.

    Args:
        corpus: The newest version.
        config: Which classifier.
        num_codes: Codes of each category.
        num_classes: Number of classes.
        cutoff: ms since 1970; a label that became known from then on is not looked at.
    """
    read = FeatureReader(corpus, num_codes)
    return add_base(corpus, config, read, corpus.read("label"), num_classes, cutoff)


def add_base(
    corpus: Corpus,
    config: BaseConfig,
    read: FeaturesOf,
    label_N: np.ndarray,
    num_classes: int,
    cutoff: int,
    said: Mapping[str, Any] | None = None,
) -> tuple[Corpus, OutOfFold]:
    """A version of the corpus with the base classifier's scores, and the classifiers.

    Rows whose label was known at the cutoff are scored by classifiers that did not see them, the
    others by one that was fitted on all of those.

    Args:
        corpus: The newest version.
        config: Which classifier.
        read: What it sees of rows.
        label_N: Labels of all rows, integers.
        num_classes: Number of classes.
        cutoff: ms since 1970; a label that became known from then on is not looked at.
        said: JSON values, what else the scores depend on.

    Raises:
        UserError: if too few labels were known, or what is needed is not there.
    """
    asked = {**asdict(config), "cutoff": cutoff, **(said or {})}
    request = json.loads(json.dumps(asked))
    if corpus.provenance.get(BASE) == request:
        return corpus, _load(_uri(corpus, request), len(corpus))
    num_known = corpus.num_before(cutoff)
    known_N = np.repeat([True, False], [num_known, len(corpus) - num_known])
    fitted = out_of_fold(config, read, label_N, num_classes, known_N, SEED)
    _save(fitted, _uri(corpus, request))
    width = fitted.base.field_dim
    with tqdm(total=len(corpus), desc="base scores", unit=" rows") as progress:

        def make_rows(shard: int) -> np.ndarray:
            rows = np.arange(*corpus.starts[shard : shard + 2])
            progress.update(len(rows))
            return fitted.base.compress(fitted.log_probs(read, rows))

        extended = add_field(corpus, BASE, Field("float16", (width,)), make_rows, {BASE: request})
    return extended, fitted


def load_base(corpus: Corpus, request: Mapping[str, Any] | None = None) -> FittedBase:
    """The base classifier whose scores a corpus holds, or that of an earlier request."""
    return load_folds(corpus, request).base


def load_folds(corpus: Corpus, request: Mapping[str, Any] | None = None) -> OutOfFold:
    """The same, with the classifiers that did not see a fold."""
    return _load(_uri(corpus, request or corpus.provenance[BASE]), len(corpus))


def _uri(corpus: Corpus, request: Mapping[str, Any]) -> str:
    name = xxh3_64_hexdigest(json.dumps(request, sort_keys=True).encode())
    return f"{corpus.uri}/{BASE}/{name}.npz"


def _save(fitted: OutOfFold, uri: str) -> None:
    parts = {BASE: fitted.base, **{f"fold {n}": part for n, part in enumerate(fitted.by_fold)}}
    packed = {name: np.frombuffer(part.to_bytes(), np.uint8) for name, part in parts.items()}
    with write_atomic(uri) as file:
        np.savez(file, fold_N=fitted.fold_N, **packed)  # type: ignore[arg-type]


def _load(uri: str, num_rows: int) -> OutOfFold:
    try:
        with np.load(io.BytesIO(read_bytes(uri)), allow_pickle=False) as file:
            fold_N, base = file["fold_N"], file[BASE].tobytes()
            folds = [file[f"fold {n}"].tobytes() for n in range(fold_N.max() + 1)]
    except (BadZipFile, EOFError, KeyError, ValueError, OSError) as error:
        raise UserError(f"{uri}: damaged: {error}; remake the corpus") from error
    by_fold = [FittedBase.from_bytes(data, uri) for data in folds]
    # Rows that were appended since are in no fold.
    fold_N = np.pad(fold_N, (0, num_rows - len(fold_N)), constant_values=-1)
    return OutOfFold(FittedBase.from_bytes(base, uri), by_fold, fold_N)
