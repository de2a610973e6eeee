"""Rows of the corpus as tensors: what is retrieved for examples, and how inputs are scaled."""

import numpy as np
import torch
from torch import Tensor

from raclib.batch import Batch, to_tensors
from raclib.retrieval.keys import KeySet
from raclib.retrieval.table import QuantizedKeys
from raclib.tasks.amazon.config import AmazonConfig
from raclib.tasks.table.reader import INPUT_FIELDS, LABEL_FIELDS, ReviewReader


class ReviewHistory:
    """Reviews strictly earlier than an example, of a sliding window: see `training.step.History`.

    Args:
        keys: Keys and times of the rows that may be retrieved.
        reader: Reads the rows drawn.
        config: Window and what is retrieved.
    """

    def __init__(self, keys: KeySet, reader: ReviewReader, config: AmazonConfig) -> None:
        self.keys, self.reader, self.window = keys, reader, config.split.window
        inputs = INPUT_FIELDS if config.retrieval.retrieve == "row" else ()
        self.fields = (*inputs, *LABEL_FIELDS)

    def select(self, batch: Batch) -> tuple[Tensor | QuantizedKeys, Tensor, Tensor]:
        """The shared keys and each example's window."""
        lo_B, hi_B = self.keys.window(batch["time"], self.window)
        return self.keys.keys, lo_B, hi_B

    def fetch(self, batch: Batch, rows_MBS: Tensor) -> Batch:
        """Label (and inputs, where full rows are retrieved) of drawn rows."""
        # Where too few rows are eligible a draw is -1; row 0 stands in and the classifier's mask
        # keeps it unseen.
        ids = self.keys.row_ids(rows_MBS.clamp(min=0)).flatten().cpu().numpy()
        found = self.reader.read(ids, self.fields)
        del found["time"]
        return {
            name: values.unflatten(0, rows_MBS.shape)
            for name, values in to_tensors(found, rows_MBS.device).items()
        }


def input_statistics(
    reader: ReviewReader, rows: np.ndarray, seed: int, num_sample: int = 20_000
) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and deviation of `embedding` and `helpful_vote` over a sample of training examples."""
    sample = np.sort(np.random.default_rng(seed).permutation(rows)[:num_sample])
    found = reader.read(sample, ("embedding", "helpful_vote", *LABEL_FIELDS))
    columns = {"embedding": found["embedding"], "helpful_vote": found["helpful_vote"][:, None]}
    return {
        name: (
            torch.from_numpy(values.mean(axis=0, dtype=np.float64)),
            torch.from_numpy(values.std(axis=0, dtype=np.float64)),
        )
        for name, values in columns.items()
    }
