"""The small frozen key of a row: a projection of its place, its time if wanted, its ids."""

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np
from xxhash import xxh3_128_hexdigest

from raclib.arrays import Arrays
from raclib.corpus import Corpus
from raclib.corpus.atomic import write_atomic
from raclib.corpus.files import list_files, read_bytes
from raclib.errors import UserError
from raclib.ingest.config import KeyConfig
from raclib.ingest.key_space import ENTITY_DIMS, KeySpace, base_part, entity_part
from raclib.ingest.projection import Projection, fit_projection, scale_to

TRANSFORM = "key_transform"
"""What a corpus says of its keys: the checksum of their transform."""
KEY_FIT = "key_fit"
"""... and, where they were made anew, on what it was fitted; see `rekey`."""


def describe_keys(config: KeyConfig) -> dict[str, Any]:
    """What a corpus must say of its keys: that which matters to their kind.

    The base classifier's part is not in it: it comes with the base classifier's scores.
    """
    left_out = {"base_weight"} | ({"nca_dim"} if config.kind != "supervised" else set())
    return {name: value for name, value in asdict(config).items() if name not in left_out}


@dataclass(frozen=True)
class KeyTransform:
    """Turns encoded rows and times into keys; fitted on rows before the cutoff only.

    The place of a row is its embedding, or what `KeySpace` makes of all it holds. A key has these
    parts, those that are wanted, one after the other (`parts`):

    - `place`: `(place - mean_D) @ projection_Dd`, of unit length where `normalize`. Of supervised
      keys PCA, scaled to a mean squared distance of 1/2 between two rows fitted on;
    - `nca`: the last `num_nca` numbers of that product, of the same scale: what neighbourhood
      components analysis made of labels. Nearest rows are those of the smallest squared distance;
    - `base`: centred log-probabilities of the base classifier; see `base_part`;
    - `time`: with tau = (time - first) / (cutoff - first), which is 0 at the first row and 1 at the
      cutoff, tau itself (`time_linear`) and `time_fourier` pairs sin, cos of (pi / 2) 2^i tau,
      i = 0, 1, ... (the slowest makes a quarter turn until the cutoff). It is scaled so that its
      length at the cutoff is `time_weight` times that of the product: 1 where `normalize`, else the
      root mean square length over the rows fitted on;
    - `entity`: ids; see `entity_part`.

    Attributes:
        mean_D: Subtracted from places, float32.
        projection_Dd: Applied to places, float32.
        normalize: Whether the first part has unit length.
        first: Time of the first row, ms since 1970.
        cutoff: Time of the cutoff, ms since 1970.
        time_linear: Whether the time part has tau.
        time_fourier: Pairs of the time part.
        time_scale: Factor of the time part.
        category_scale_c, embedding_scale: See `KeySpace`.
        num_entities: Columns of ids.
        entity_weight: Length of the part of each.
        num_nca: Columns of the projection that know labels.
        base_dim: Width of the base classifier's part.
        base_scale: Factor of it.
    """

    mean_D: np.ndarray
    projection_Dd: np.ndarray
    normalize: bool
    first: int
    cutoff: int
    time_linear: bool
    time_fourier: int
    time_scale: float
    category_scale_c: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    embedding_scale: float = 1.0
    num_entities: int = 0
    entity_weight: float = 0.0
    num_nca: int = 0
    base_dim: int = 0
    base_scale: float = 0.0

    @classmethod
    def fit(
        cls,
        config: KeyConfig,
        rows: Arrays,
        first: int,
        cutoff: int,
        label: np.ndarray | None = None,
        *,
        entity_weight: float = 0.0,
        base_weight: float = 0.0,
        at_most: bool = False,
        like: "KeyTransform | None" = None,
    ) -> Self:
        """Fits the transform.

        Args:
            config: Which kind, and the time features.
            rows: Encoded rows whose labels were known, `[N, ...]` each: those of `KeySpace`,
                `entities`, `base`.
            first: Time of the first row, ms since 1970.
            cutoff: Time of the cutoff, ms since 1970, after the first row's.
            label: int64 `[N]`, -1 where there is none; needed by `supervised`.
            entity_weight: Length of the part of an id, in units of the projection's; 0 for none.
            base_weight: Root mean square distance of the base classifier's part; 0 for none.
            at_most: Take fewer dimensions where rows have fewer, or are fewer.
            like: An earlier transform, whose coordinates are kept near; see `Projection.like`.

        Raises:
            UserError: if the key is wider than the place of a row, or PCA has too few rows.
        """
        space = KeySpace.fit(rows)
        rows_ND = space(rows)
        if at_most:
            config = replace(config, dim=min(config.dim, *rows_ND.shape))
        found = fit_projection(config, rows_ND, label)
        if like is not None:
            found = found.like(like._projection)
        is_unit = config.normalize and config.kind != "supervised"
        projection_Dd = np.concatenate([found.place_Dw, found.nca_Dm], axis=1)
        text_Nd = (rows_ND - found.mean_D) @ projection_Dd
        length = 1.0 if is_unit else float(np.sqrt((text_Nd**2).sum(axis=1).mean()))
        num_unit = max(1, config.time_linear + config.time_fourier)
        base_Nb = base_part(rows["base"]) if base_weight else np.empty((0, 0))
        return cls(
            found.mean_D,
            projection_Dd,
            is_unit,
            first,
            cutoff,
            config.time_linear,
            config.time_fourier,
            config.time_weight * length / float(np.sqrt(num_unit)),
            space.category_scale_c,
            space.embedding_scale,
            rows["entities"].shape[1] if "entities" in rows and entity_weight else 0,
            entity_weight * length,
            found.nca_Dm.shape[1],
            base_Nb.shape[1],
            scale_to(base_weight**2, base_Nb) if base_weight else 0.0,
        )

    @property
    def parts(self) -> Mapping[str, slice]:
        """Where each part of a key is; empty where there is none."""
        widths = {
            "place": self.projection_Dd.shape[1] - self.num_nca,
            "nca": self.num_nca,
            "base": self.base_dim,
            "time": self.time_linear + 2 * self.time_fourier,
            "entity": self.num_entities * ENTITY_DIMS,
        }
        ends = pairwise(accumulate(widths.values(), initial=0))
        return {name: slice(*bounds) for name, bounds in zip(widths, ends, strict=True)}

    @property
    def dim(self) -> int:
        """Width of a key."""
        return self.parts["entity"].stop

    def transform(self, rows: Arrays, time: np.ndarray) -> np.ndarray:
        """Keys `[N, dim]`, float32, of encoded rows and times `[N]` in ms since 1970."""
        space = KeySpace(self.category_scale_c, self.embedding_scale)
        text_Nd = (space(rows) - self.mean_D) @ self.projection_Dd
        if self.normalize:
            text_Nd /= np.maximum(np.linalg.norm(text_Nd, axis=1, keepdims=True), 1e-12)
        parts = [text_Nd]
        if self.base_dim:
            parts.append(self.base_scale * base_part(rows["base"]))
        parts.append(self._time_features(time))
        if self.num_entities:
            parts.append(entity_part(rows["entities"], self.entity_weight))
        return np.concatenate(parts, axis=1)

    def with_metric(self, metric_wm: np.ndarray, rows: Arrays) -> Self:
        """The same with a trained map of the part `place` instead of the part `nca`.

        Args:
            metric_wm: The map; its scale does not matter.
            rows: Rows as in `fit`: on these its squared distances become 1/2 on average.
        """
        space = KeySpace(self.category_scale_c, self.embedding_scale)
        place_Dw = self._projection.place_Dw
        metric_Dm = place_Dw @ metric_wm
        metric_Dm *= scale_to(0.5, (space(rows) - self.mean_D) @ metric_Dm)
        projection_Dd = np.concatenate([place_Dw, metric_Dm], axis=1).astype(np.float32)
        return replace(self, projection_Dd=projection_Dd, num_nca=metric_Dm.shape[1])

    def to_bytes(self) -> bytes:
        """The transform as a .npz file."""
        file = io.BytesIO()
        np.savez(file, **asdict(self))
        return file.getvalue()

    @property
    def checksum(self) -> str:
        """xxh3_128 of `to_bytes`, hexadecimal."""
        return xxh3_128_hexdigest(self.to_bytes())

    def save(self, uri: str) -> None:
        """Writes it to `<uri>/keys/<checksum>.npz`, `uri` being a corpus."""
        with write_atomic(f"{uri}/{transform_path(self.checksum)}") as file:
            file.write(self.to_bytes())

    @classmethod
    def of(cls, corpus: Corpus) -> Self:
        """Reads the transform that made the keys of this version of a corpus.

        Raises:
            UserError: if the corpus says of none, or it is missing or damaged.
        """
        checksum = corpus.provenance.get(TRANSFORM)
        if checksum is None:
            raise UserError(f"{corpus.uri}: its keys were not made here; no new row can get one")
        path = transform_path(checksum)
        if path.removeprefix("keys/") not in list_files(f"{corpus.uri}/keys"):
            path = "key_transform.npz"  # where older corpora have the only one
        return cls.load(f"{corpus.uri}/{path}", checksum)

    @classmethod
    def load(cls, uri: str, checksum: str) -> Self:
        """Reads a file of `to_bytes`; raises UserError unless it is there and has that checksum."""
        data = read_bytes(uri)
        try:
            if xxh3_128_hexdigest(data) != checksum:
                raise ValueError(f"its checksum is not {checksum}")
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                values = {name: arrays[name] for name in arrays}
                scalars = {name: value.item() for name, value in values.items() if value.ndim == 0}
                return cls(**{**values, **scalars})
        except (BadZipFile, EOFError, ValueError, TypeError, OSError) as error:
            raise UserError(f"{uri}: damaged: {error}; remake the corpus") from error

    @property
    def _projection(self) -> Projection:
        width = self.projection_Dd.shape[1] - self.num_nca
        return Projection(self.mean_D, *np.split(self.projection_Dd, [width], axis=1))

    def _time_features(self, time: np.ndarray) -> np.ndarray:
        tau_N1 = ((time - self.first) / (self.cutoff - self.first))[:, None]
        angles_NF = np.pi / 2 * tau_N1 * 2.0 ** np.arange(self.time_fourier)
        linear = [tau_N1] if self.time_linear else []
        features = np.concatenate([*linear, np.sin(angles_NF), np.cos(angles_NF)], axis=1)
        return (features * self.time_scale).astype(np.float32)


def transform_path(checksum: str) -> str:
    """Where a transform is kept under a corpus."""
    return f"keys/{checksum}.npz"
