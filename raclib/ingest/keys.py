"""The small frozen key of a row: a projection of its place, its time if wanted, its ids."""

import io
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from zipfile import BadZipFile

import numpy as np
from xxhash import xxh3_128_hexdigest

from raclib.arrays import Arrays
from raclib.corpus.atomic import write_atomic
from raclib.corpus.files import read_bytes
from raclib.errors import UserError
from raclib.ingest.config import KeyConfig
from raclib.ingest.key_space import ENTITY_DIMS, KeySpace, entity_part

# Keys depend on no seed of a run: runs of several seeds share one corpus.
SEED = 0


def describe_keys(config: KeyConfig) -> dict[str, Any]:
    """What a corpus must say of its keys."""
    return asdict(config)


@dataclass(frozen=True)
class KeyTransform:
    """Turns encoded rows and times into keys; fitted on rows before the cutoff only.

    The first part is `(place - mean_D) @ projection_Dd`, of unit length where `normalize`; the
    place of a row is its embedding, or what `KeySpace` makes of all it holds. With
    tau = (time - first) / (cutoff - first), which is 0 at the first row and 1 at the cutoff, the
    time part is tau itself (`time_linear`) and `time_fourier` pairs sin, cos of (pi / 2) 2^i tau,
    i = 0, 1, ... (the slowest makes a quarter turn until the cutoff). It is scaled
    so that its length at the cutoff is `time_weight` times the first part's: 1 where `normalize`,
    else the root mean square length over the rows fitted on. Ids follow; see `entity_part`.

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

    @classmethod
    def fit(
        cls, config: KeyConfig, rows: Arrays, first: int, cutoff: int, entity_weight: float = 0.0
    ) -> "KeyTransform":
        """Fits the transform.

        Args:
            config: Which kind, and the time features.
            rows: Encoded rows before the cutoff, `[N, ...]` each: those of `KeySpace`, `entities`.
            first: Time of the first row, ms since 1970.
            cutoff: Time of the cutoff, ms since 1970, after the first row's.
            entity_weight: Length of the part of an id.

        Raises:
            UserError: if the key is wider than the place of a row, or PCA has too few rows.
        """
        space = KeySpace.fit(rows)
        rows_ND = space(rows)
        mean_D, projection_Dd = _fit_projection(config, rows_ND)
        text_Nd = (rows_ND - mean_D) @ projection_Dd
        length = 1.0 if config.normalize else float(np.sqrt((text_Nd**2).sum(axis=1).mean()))
        num_unit = max(1, config.time_linear + config.time_fourier)
        return cls(
            mean_D,
            projection_Dd,
            config.normalize,
            first,
            cutoff,
            config.time_linear,
            config.time_fourier,
            config.time_weight * length / float(np.sqrt(num_unit)),
            space.category_scale_c,
            space.embedding_scale,
            rows["entities"].shape[1] if "entities" in rows else 0,
            entity_weight,
        )

    @classmethod
    def fit_at_most(
        cls, config: KeyConfig, rows: Arrays, first: int, cutoff: int, entity_weight: float
    ) -> "KeyTransform":
        """The same with fewer dimensions where rows have fewer, or are fewer."""
        most = min(KeySpace.fit(rows)(rows).shape)
        smaller = replace(config, dim=min(config.dim, most))
        return cls.fit(smaller, rows, first, cutoff, entity_weight)

    @property
    def dim(self) -> int:
        """Width of a key."""
        place = self.projection_Dd.shape[1]
        return place + self.time_linear + 2 * self.time_fourier + self.num_entities * ENTITY_DIMS

    def transform(self, rows: Arrays, time: np.ndarray) -> np.ndarray:
        """Keys `[N, dim]`, float32, of encoded rows and times `[N]` in ms since 1970."""
        space = KeySpace(self.category_scale_c, self.embedding_scale)
        text_Nd = (space(rows) - self.mean_D) @ self.projection_Dd
        if self.normalize:
            text_Nd /= np.maximum(np.linalg.norm(text_Nd, axis=1, keepdims=True), 1e-12)
        parts = [text_Nd, self._time_features(time)]
        if self.num_entities:
            parts.append(entity_part(rows["entities"], self.entity_weight))
        return np.concatenate(parts, axis=1)

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
        """Writes it to `<uri>/key_transform.npz`, `uri` being a corpus."""
        with write_atomic(_file_uri(uri)) as file:
            file.write(self.to_bytes())

    @classmethod
    def load(cls, uri: str) -> "KeyTransform":
        """Reads the transform of a corpus.

        Raises:
            UserError: if it is missing or damaged.
        """
        data = read_bytes(_file_uri(uri))
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                values = {name: arrays[name] for name in arrays}
                scalars = {name: value.item() for name, value in values.items() if value.ndim == 0}
                return cls(**{**values, **scalars})
        except (BadZipFile, EOFError, ValueError, TypeError, OSError) as error:
            raise UserError(f"{_file_uri(uri)}: damaged: {error}; remake the corpus") from error

    def _time_features(self, time: np.ndarray) -> np.ndarray:
        tau_N1 = ((time - self.first) / (self.cutoff - self.first))[:, None]
        angles_NF = np.pi / 2 * tau_N1 * 2.0 ** np.arange(self.time_fourier)
        linear = [tau_N1] if self.time_linear else []
        features = np.concatenate([*linear, np.sin(angles_NF), np.cos(angles_NF)], axis=1)
        return (features * self.time_scale).astype(np.float32)


def _fit_projection(config: KeyConfig, rows_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Here, not above: tasks that only transform need no scikit-learn, which is slow to import.
    from sklearn.decomposition import PCA
    from sklearn.random_projection import GaussianRandomProjection

    num_rows, width = rows_ND.shape
    if config.dim > width:
        raise UserError(f"key.dim: {config.dim} is more than the embedding's {width}; lower it")
    mean_D = np.zeros(width, np.float32)
    if config.kind == "first":
        return mean_D, np.eye(width, config.dim, dtype=np.float32)
    if config.kind == "random":
        random = GaussianRandomProjection(config.dim, random_state=SEED).fit(rows_ND[:1])
        return mean_D, random.components_.T.astype(np.float32)
    if config.dim > num_rows:
        raise UserError(
            f"key.dim: {config.dim} is more than the {num_rows} rows before the cutoff that PCA "
            "can be fitted on; lower it, or choose key.kind first or random"
        )
    # Rows of ids alone have one place: there is no variance to share out.
    with np.errstate(invalid="ignore"):
        pca = PCA(config.dim, random_state=SEED).fit(rows_ND)
    return pca.mean_.astype(np.float32), pca.components_.T.astype(np.float32)


def _file_uri(uri: str) -> str:
    return f"{uri}/key_transform.npz"
