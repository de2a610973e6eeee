"""Fits of base classifiers side by side, each a Ray task, and kept."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import ray
import torch
from tqdm import tqdm
from xxhash import xxh3_128_hexdigest

from raclib.corpus.atomic import write_atomic
from raclib.corpus.files import exists, read_bytes
from raclib.models.base import BaseConfig, FittedBase, fit_base
from raclib.models.base.features import Read
from raclib.models.base.refit import LabelledRows

SEED = 0  # runs of several seeds share fits


@dataclass(frozen=True)
class RayFits:
    """Fits base classifiers side by side; a fit that was done before is read. See `FitAll`.

    Attributes:
        config: Which kind.
        data: The rows.
        folder: Folder or URI of fits, seen by every machine; for these features alone.
    """

    config: BaseConfig
    data: LabelledRows
    folder: str

    def __call__(self, parts: Sequence[np.ndarray]) -> list[FittedBase]:
        """A classifier for each set of rows."""
        read, found = ray.put(self.data.read), {}
        numbers = {self._submit(read, part): number for number, part in enumerate(parts)}
        waiting = list(numbers)
        with tqdm(total=len(parts), desc="refits", unit="fit") as progress:
            while waiting:
                (done,), waiting = ray.wait(waiting)
                name = self._uri(parts[numbers[done]])
                found[numbers[done]] = FittedBase.from_bytes(ray.get(done), name)
                progress.update()
        return [found[number] for number in range(len(parts))]

    def _submit(self, read: "ray.ObjectRef[Read]", rows: np.ndarray) -> "ray.ObjectRef[bytes]":
        what = self.config, read, rows, self._label(rows), self.data.num_classes
        return _fit.remote(*what, self._uri(rows))

    def _label(self, rows: np.ndarray) -> np.ndarray:
        return self.data.label[rows].astype(np.int64)

    def _uri(self, rows: np.ndarray) -> str:
        about = json.dumps([asdict(self.config), self.data.num_classes, SEED]).encode()
        seen = about + rows.tobytes() + self._label(rows).tobytes()
        return f"{self.folder}/{xxh3_128_hexdigest(seen)}.npz"


@ray.remote(num_cpus=1)
def _fit(
    config: BaseConfig, read: Read, rows: np.ndarray, label: np.ndarray, num_classes: int, uri: str
) -> bytes:
    if exists(uri):
        return read_bytes(uri)
    torch.set_num_threads(1)  # threads of fits side by side would wait for each other
    data = fit_base(config, read(rows), label, num_classes, SEED).to_bytes()
    with write_atomic(uri) as file:
        file.write(data)
    return data
