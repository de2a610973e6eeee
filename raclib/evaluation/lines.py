"""The lines that a sceptic asks for: they know the same labels, and train no retrieval.

What a line is told, such as how many neighbours vote, is chosen on rows known before the cutoff.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import cast

import numpy as np

from raclib.corpus import Corpus
from raclib.evaluation.baselines import recent_share, windowed_votes
from raclib.evaluation.choice import Choice
from raclib.evaluation.ours import REFIT_RETRIEVAL, RETRIEVAL, weigh, with_refit
from raclib.evaluation.refit import SEED, Refits, Refittable, make_refits
from raclib.evaluation.rivals import adaptive_forest
from raclib.evaluation.tabr import tabr
from raclib.ingest.base_scores import FeaturesOf
from raclib.models.base import BaseConfig, out_of_fold
from raclib.models.base.config import Kind
from raclib.models.base.refit import LabelledRows
from raclib.tasks.table.base import BaseScores
from raclib.tasks.table.config import TableEvaluateConfig
from raclib.tasks.table.corpus_task import CorpusTask
from raclib.training.fitted import Fitted

RECENT, NEIGHBOURS, NO_CONTEXT = "recent rates", "nearest neighbours", "no context"
REFIT, REFIT_RECENT = "refit", "refit, recent rows"
FOREST, TABR = "adaptive forest", "TabR"
BOOSTED, BOOSTED_RECENT = "boosted refit", "boosted, recent rows"
FITTED = ("linear", "mlp", "lightgbm")


@dataclass(frozen=True)
class Lines:
    """What simple methods answer.

    Attributes:
        probabilities: For each, of the test examples, `[N, C]`.
        chosen: What was chosen before the cutoff.
        data: All rows of the corpus.
        refits: The base classifier as it is fitted again; answers any rows, for example
            `refits.all.log_probs(data, rows)`.
    """

    probabilities: dict[str, np.ndarray]
    chosen: dict[str, int]
    data: LabelledRows
    refits: Refits


def new_base(task: CorpusTask, read: FeaturesOf, kind: Kind = "linear") -> Refittable:
    """A base classifier beside that of the task, or where it has none that is fitted again."""
    config, num_after = BaseConfig(kind=kind), len(task.corpus) - task.num_before
    known = np.repeat([True, False], [task.num_before, num_after])
    what = task.read_labels(), task.num_classes, known, SEED
    return Refittable(config, read, out_of_fold(config, read, *what))


def refittable(task: CorpusTask, base: BaseScores | None, read: FeaturesOf) -> Refittable:
    """The base classifier, or logistic regression where that is not one to fit again.

    Args:
        task: What is predicted.
        base: Answers of its base classifier; None where that is trained like the model.
        read: What a base classifier sees of rows.
    """
    if base and base.classifiers.base.kind in FITTED:
        chosen = replace(task.config.base, kind=cast(Kind, base.classifiers.base.kind))
        return Refittable(chosen, base.read, base.classifiers)
    return new_base(task, read)


def add_ours(task: CorpusTask, lines: Lines, ours: Mapping[str, Fitted]) -> dict[str, np.ndarray]:
    """All methods in the order in which they are shown: lines, then ours.

    Args:
        task: Its test examples are answered.
        lines: The simple methods.
        ours: Trained models with retrieval. One whose reader starts from a base classifier is
            weighed against it, as a served one is.
    """
    found = dict(lines.probabilities)
    for name, fitted in ours.items():
        found[name] = fitted.test.probability
        if task.reads_base:
            found[name] = weigh(task, [fitted.test.probability, found[NO_CONTEXT]])
        if task.reads_base and name == RETRIEVAL:
            refits = lines.refits.all
            found[REFIT_RETRIEVAL] = with_refit(task, fitted.weights, refits, lines.data)
    return found


def make_lines(task: CorpusTask, base: Refittable, no_context: np.ndarray) -> Lines:
    """All lines of a task, in the order in which they are shown.

    Args:
        task: Its test examples are answered.
        base: What is fitted again; fits are kept under the storage of the run.
        no_context: Probabilities of the classifier without context, `[N, C]`.
    """
    config, rows = task.config.evaluate, task.splits.test
    times = task.corpus.read_mapped("time"), task.read_event_times()
    data = LabelledRows(base.read, task.read_labels(), *times, task.num_classes)
    choice = Choice.before(data, task.cutoff)
    recent, num_labels = _recent_rates(data, choice, rows, config.num_recent_labels)
    votes, window, num_neighbours = _neighbours(task.corpus, data, choice, rows, config)
    folder = f"{task.config.storage_path}/refits"
    refits = make_refits(base, data, choice, config, folder)
    found = {
        RECENT: recent,
        NEIGHBOURS: votes,
        NO_CONTEXT: no_context,
        REFIT: np.exp(refits.all.log_probs(data, rows)),
        REFIT_RECENT: np.exp(refits.recent.log_probs(data, rows)),
    }
    if "adaptive_forest" in config.rivals:
        forest = adaptive_forest(data, choice, rows)
        found |= {} if forest is None else {FOREST: forest}
    if "tabr" in config.rivals:
        answers = tabr(data, choice, rows)
        found |= {} if answers is None else {TABR: answers}
    if "boosted_trees" in config.rivals:
        found |= _boosted(task, base.read, data, choice, folder)
    chosen = {
        "recent_labels": num_labels,
        "neighbours": num_neighbours,
        "neighbour_window": window,
        "recent_rows": refits.num_recent,
    }
    return Lines(found, chosen, data, refits)


def _boosted(
    task: CorpusTask, read: FeaturesOf, data: LabelledRows, choice: Choice, folder: str
) -> dict[str, np.ndarray]:
    """Boosted trees fitted as the base classifier is; none where there is an embedding."""
    if "embedding" in task.corpus.fields:
        print("boosted trees: left out, an embedding has many columns")
        return {}
    base = new_base(task, read, "lightgbm")
    refits = make_refits(base, data, choice, task.config.evaluate, folder)
    named = {BOOSTED: refits.all, BOOSTED_RECENT: refits.recent}
    return {name: np.exp(made.log_probs(data, task.splits.test)) for name, made in named.items()}


def _recent_rates(
    data: LabelledRows, choice: Choice, rows: np.ndarray, candidates: Sequence[int]
) -> tuple[np.ndarray, int]:
    def rates(rows: np.ndarray, num: int) -> np.ndarray:
        return recent_share(data.known, data.label, data.event[rows], data.num_classes, num)

    num = choice.best(data, {num: rates(choice.rows, num) for num in candidates})
    return rates(rows, num), num


def _neighbours(
    corpus: Corpus,
    data: LabelledRows,
    choice: Choice,
    rows: np.ndarray,
    config: TableEvaluateConfig,
) -> tuple[np.ndarray, int, int]:
    """Votes of the best number of neighbours in the best window, and these."""

    answers: dict[tuple[int, int], np.ndarray] = {}
    for window in distinct(config.neighbour_windows, int(np.searchsorted(data.known, choice.end))):
        found = windowed_votes(corpus, data, choice.rows, window, config.num_neighbours)
        answers |= {(window, num): found[i] for i, num in enumerate(config.num_neighbours)}
    window, num = choice.best(data, answers)
    return windowed_votes(corpus, data, rows, window, [num])[0], window, num


def distinct(windows: Sequence[int], num_rows: int) -> list[int]:
    """Windows, ascending, without those that hold no more of so many rows than a smaller one."""
    ascending = sorted(set(windows))
    wider = [window for smaller, window in pairwise(ascending) if smaller < num_rows]
    return [ascending[0], *wider]
