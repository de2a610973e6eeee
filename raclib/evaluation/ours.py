"""What retrieval answers with its base classifier beside it, frozen and fitted again."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from raclib.corpus.manifest import TIME
from raclib.models.base.refit import LabelledRows, RefitBase
from raclib.tasks.table.corpus_task import CorpusTask
from raclib.tasks.table.record import Record
from raclib.training.predict import predict
from raclib.training.task import parts

RETRIEVAL, REFIT_RETRIEVAL = "retrieval", "refit + retrieval"
OURS = frozenset({RETRIEVAL, REFIT_RETRIEVAL})
CPU = torch.device("cpu")


def weigh(task: CorpusTask, answers: Sequence[np.ndarray]) -> np.ndarray:
    """Probabilities of the test examples, `[N, C]`: answers, each weighed by its record.

    Args:
        task: The record is that of its other test examples, whose labels were known in time.
        answers: Probabilities `[N, C]` of each.
    """
    rows = task.splits.test
    log_probs = [np.log(np.maximum(answer, 1e-12, dtype=np.float64)) for answer in answers]
    found = task.read_rows(rows, (TIME, task.event))
    record = Record.of(found[TIME], found["label"], log_probs)
    return np.exp(record.mix(found[task.event], log_probs))


def with_refit(
    task: CorpusTask, weights: Mapping[str, Tensor], refits: RefitBase, data: LabelledRows
) -> np.ndarray:
    """Probabilities of the test examples, `[N, C]`, by a frozen reader and a base fitted again.

    Args:
        task: Its reader is a copy reader.
        weights: Those of the trained model.
        refits: The base classifier as it is fitted again.
        data: The rows of the corpus.
    """
    rows = task.splits.test
    base_NC = refits.log_probs(data, rows)
    mine = task.with_base(rows, base_NC)
    model = mine.build_model(with_context=True)
    model.load_state_dict(weights)
    history, found = mine.history("test", CPU), []
    for part in tqdm(parts(mine, "test"), "refit + retrieval", unit="batch"):
        batch = mine.load("test", part, CPU)
        found.append(predict(model, history, batch, mine.config.retrieval).numpy())
    return weigh(task, [np.concatenate(found), np.exp(base_NC)])
