import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from raclib.tasks.table import record as module
from raclib.tasks.table.record import Record


def log_probs(right: float, label: np.ndarray) -> np.ndarray:
    found = np.full((len(label), 2), np.log(1 - right))
    found[np.arange(len(label)), label] = np.log(right)
    return found


def test_the_better_answer_is_believed_and_later_the_other(monkeypatch):
    monkeypatch.setattr(module, "NUM_RECENT", 20)
    known, label = np.arange(100), np.arange(100) % 2
    first = np.where(known[:, None] < 50, log_probs(0.9, label), log_probs(0.2, label))
    answers = [first, log_probs(0.6, label)]
    record = Record.of(known, label, answers)
    found = np.exp(record.mix(known, answers))[known, label]
    np.testing.assert_allclose(found[0], (0.9 + 0.6) / 2)  # nothing is known yet
    assert (found[20:50] > 0.89).all()
    assert (found[70:] > 0.59).all()
    np.testing.assert_allclose(np.exp(record.mix(known, answers)).sum(axis=1), 1)


@given(st.integers(0, 2**31))
def test_a_label_that_is_not_yet_known_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    known, label = rng.integers(0, 30, 40), rng.integers(0, 3, 40)
    answers = [np.log(rng.dirichlet(np.ones(3), 40)) for _ in range(2)]
    time = rng.integers(0, 31, 5)
    asked = [answer[:5] for answer in answers]
    for at in range(5):
        late = known >= time[at]
        other = np.where(late, (label + 1) % 3, label)
        found, again = (
            Record.of(known, labels, answers).mix(time, asked)[at] for labels in (label, other)
        )
        np.testing.assert_array_equal(found, again)


def test_a_record_that_is_continued_is_that_of_all_its_rows():
    rng = np.random.default_rng(0)
    known, label = np.sort(rng.integers(0, 30, 40)), rng.integers(0, 3, 40)
    answers = [np.log(rng.dirichlet(np.ones(3), 40)) for _ in range(2)]

    def of(part: slice) -> Record:
        return Record.of(known[part], label[part], [answer[part] for answer in answers])

    joined = of(slice(0, 25)).join(of(slice(25, 40)), np.arange(25) >= 5)
    expected = of(slice(5, 40))
    np.testing.assert_array_equal(joined.known_N, expected.known_N)
    np.testing.assert_array_equal(joined.log_prob_NA, expected.log_prob_NA)
