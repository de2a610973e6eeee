"""What a key takes of the place of a row, fitted on rows known before a time."""

from dataclasses import dataclass

import numpy as np

from raclib.errors import UserError
from raclib.ingest.config import KeyConfig

# Keys depend on no seed of a run: runs of several seeds share one corpus.
SEED = 0


@dataclass(frozen=True)
class Projection:
    """A linear map of places.

    Attributes:
        mean_D: Subtracted before, float32.
        place_Dw: The place itself in fewer numbers, float32.
        nca_Dm: By which rows of one class are near, float32; no column but for `supervised`.
    """

    mean_D: np.ndarray
    place_Dw: np.ndarray
    nca_Dm: np.ndarray

    def like(self, earlier: "Projection") -> "Projection":
        """The same distances, in coordinates as near as can be to those of an earlier projection.

        What was trained on coordinates of earlier keys can then read these. A part of another
        shape stays as it is.
        """
        turned = _turn(self.place_Dw, earlier.place_Dw), _turn(self.nca_Dm, earlier.nca_Dm)
        return Projection(self.mean_D, *turned)


def fit_projection(
    config: KeyConfig, rows_ND: np.ndarray, label_N: np.ndarray | None
) -> Projection:
    """Fits what `config.kind` names.

    Args:
        config: Kind and widths.
        rows_ND: Places, float32.
        label_N: int64, -1 where there is none; for `supervised` only.

    Raises:
        UserError: if the projection is wider than places, or PCA has too few rows.
    """
    num_rows, width = rows_ND.shape
    if config.dim > width:
        raise UserError(f"key.dim: {config.dim} is more than the embedding's {width}; lower it")
    mean_D, none_D0 = np.zeros(width, np.float32), np.empty((width, 0), np.float32)
    if config.kind == "first":
        return Projection(mean_D, np.eye(width, config.dim, dtype=np.float32), none_D0)
    if config.kind == "random":
        return Projection(mean_D, _random(config.dim, rows_ND), none_D0)
    if config.dim > num_rows:
        raise UserError(
            f"key.dim: {config.dim} is more than the {num_rows} rows before the cutoff that PCA "
            "can be fitted on; lower it, or choose key.kind first or random"
        )
    if config.kind == "pca":
        return Projection(*_pca(config.dim, rows_ND), none_D0)
    assert label_N is not None, "supervised keys are fitted on labels"
    return _supervised(config, rows_ND, label_N)


def _supervised(config: KeyConfig, rows_ND: np.ndarray, label_N: np.ndarray) -> Projection:
    """Both parts, each scaled to half of a unit mean squared distance."""
    num_nca = min(config.nca_dim, *rows_ND.shape)
    mean_D, components_Dp = _pca(max(config.dim, num_nca), rows_ND)
    centred_ND = rows_ND - mean_D
    nca_Dm = np.ascontiguousarray(components_Dp[:, :num_nca])
    seen_N = label_N >= 0
    if len(np.unique(label_N[seen_N])) > 1 and mean_distance(centred_ND[seen_N] @ nca_Dm) > 0:
        # Here, not above: tasks that only transform need no PyTorch, which is slow to import.
        from raclib.ingest.nca import fit_nca

        nca_Dm = fit_nca(centred_ND[seen_N], label_N[seen_N], nca_Dm, SEED)
    parts = components_Dp[:, : config.dim], nca_Dm
    return Projection(mean_D, *(_to_unit(part, centred_ND, 0.5) for part in parts))


def _to_unit(map_Dm: np.ndarray, centred_ND: np.ndarray, share: float) -> np.ndarray:
    """The map scaled so that the mean squared distance of two rows is `share`."""
    return (map_Dm * scale_to(share, centred_ND @ map_Dm)).astype(np.float32)


def mean_distance(places_ND: np.ndarray) -> float:
    """Root of the mean squared distance of two rows."""
    return float(np.sqrt(2 * places_ND.var(axis=0, dtype=np.float64).sum()))


def scale_to(share: float, places_Nm: np.ndarray) -> float:
    """Factor by which the mean squared distance of two rows becomes `share`; 0 if all are alike."""
    distance = mean_distance(places_Nm)
    return share**0.5 / distance if distance > 0 else 0.0


def _random(dim: int, rows_ND: np.ndarray) -> np.ndarray:
    from sklearn.random_projection import GaussianRandomProjection

    random = GaussianRandomProjection(dim, random_state=SEED).fit(rows_ND[:1])
    return random.components_.T.astype(np.float32)


def _pca(dim: int, rows_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Here, not above: tasks that only transform need no scikit-learn, which is slow to import.
    from sklearn.decomposition import PCA

    # Rows of ids alone have one place: there is no variance to share out.
    with np.errstate(invalid="ignore"):
        pca = PCA(dim, random_state=SEED).fit(rows_ND)
    return pca.mean_.astype(np.float32), pca.components_.T.astype(np.float32)


def _turn(map_Dm: np.ndarray, earlier_Dm: np.ndarray) -> np.ndarray:
    """The map turned, without a change of distances, towards another (orthogonal Procrustes)."""
    if map_Dm.shape != earlier_Dm.shape or not map_Dm.size:
        return map_Dm
    left, _, right = np.linalg.svd(map_Dm.T.astype(np.float64) @ earlier_Dm)
    return (map_Dm @ (left @ right)).astype(np.float32)
