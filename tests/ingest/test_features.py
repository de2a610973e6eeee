"""Rows of a table as arrays, against what pandas makes of them."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from raclib.errors import UserError
from raclib.ingest.columns import Column
from raclib.ingest.config import EncoderConfig
from raclib.ingest.features import FeatureEncoder, is_constant
from raclib.ingest.numbers import ROW_TIME

TEXTS = EncoderConfig(dim=16)
SAMPLE = pa.table(
    {
        ROW_TIME: pa.array([0, 0, 0, 0]),
        "b": [1.0, 2.0, None, 4.0],
        "a": [4, 3, 2, 1],
        "shop": ["x", "y", "y", None],
        "user": [7, 8, 7, None],
        "vector": [[1.0, 2.0], [3.0, 4.0], None, [5.0, float("nan")]],
        "p": [0.0, 0.0, 0.0, 0.0],
        "q": [1.0, 0.5, 0.2, 0.1],
        "note": ["one two", "two three", None, "one"],
        "still": [3, 3, 3, 3],
        "gone": pa.array([None, None, None, None], pa.list_(pa.float64())),
    }
)
ROLES = {
    "b": "numeric",
    "a": "numeric",
    "shop": "categorical",
    "user": "entity",
    "vector": "embedding",
    "p": "score",
    "q": "score",
    "note": "text",
    "still": "numeric",
    "gone": "embedding",
}


def fit(sample=SAMPLE, **roles) -> FeatureEncoder:
    columns = [Column(name, role, "") for name, role in (roles or ROLES).items()]
    return FeatureEncoder.fit(columns, sample, TEXTS)


def test_fields_have_the_columns_of_their_role_in_their_order():
    encoder = fit()
    widths = {name: field.shape[0] for name, field in encoder.fields.items()}
    assert widths == {"numbers": 3, "categories": 1, "entities": 1, "embedding": 18, "score": 2}
    assert encoder.of("numeric") == ["b", "a"]
    assert encoder.num_codes == (3,)
    found = encoder.encode(SAMPLE)
    assert {name: array.dtype.name for name, array in found.items()} == {
        name: field.dtype for name, field in encoder.fields.items()
    }
    assert np.argsort(found["numbers"][:, 1]).tolist() == [3, 2, 1, 0]
    assert found["numbers"][:, 2].tolist() == [0, 0, 1, 0]
    assert found["categories"][:, 0].tolist() == [2, 1, 1, 0]
    user = found["entities"][:, 0]
    assert user[0] == user[2] != user[1]
    assert user[3] == 0
    np.testing.assert_array_equal(found["embedding"][:, 16:], [[1, 2], [3, 4], [0, 0], [5, 0]])
    np.testing.assert_allclose(found["score"], [[0, 1], [0, 0.5], [0, 0.2], [0, 0.1]])


def test_columns_that_do_not_vary_are_left_out_but_scores_are_one_a_class():
    encoder = fit()
    assert "still" not in encoder.roles
    assert "gone" not in encoder.roles
    assert encoder.of("score") == ["p", "q"]
    swapped = fit(a="numeric", q="score", p="score").encode(SAMPLE)["score"]
    np.testing.assert_allclose(swapped[:, 1], 0)


@pytest.mark.parametrize(
    ("values", "constant"),
    [
        (pa.array([1, 1]), True),
        (pa.array([1, None]), False),
        (pa.array([None, None], pa.int64()), True),
        (pa.array([None, float("nan"), float("inf")]), True),
        (pa.array(["", None]), True),
        (pa.array(["a", ""]), False),
        (pa.array([[1], [1]]), False),
        (pa.array([None, None], pa.list_(pa.int64())), True),
    ],
)
def test_a_missing_value_is_a_value_too(values, constant):
    assert is_constant(pa.chunked_array([values])) is constant


def test_values_after_the_fit_are_encoded_row_by_row():
    encoder = fit()
    later = SAMPLE.slice(0, 2)
    later = later.set_column(later.column_names.index("shop"), "shop", pa.array(["new", "y"]))
    later = later.set_column(later.column_names.index("a"), "a", pa.array([10**9, -(10**9)]))
    both, one = encoder.encode(later), encoder.encode(later.slice(1))
    for name, array in both.items():
        np.testing.assert_array_equal(array[1:], one[name])
    assert both["categories"][:, 0].tolist() == [0, 1]
    assert both["numbers"][0, 1] == -both["numbers"][1, 1] > 4


def test_is_kept_without_pickle_and_encodes_the_same(tmp_path):
    encoder = fit()
    encoder.save(str(tmp_path))
    loaded = FeatureEncoder.load(str(tmp_path))
    assert loaded.to_bytes() == encoder.to_bytes()
    expected = encoder.encode(SAMPLE)
    for name, array in loaded.encode(SAMPLE).items():
        np.testing.assert_array_equal(array, expected[name])
    with np.load(tmp_path / "features.npz", allow_pickle=False) as file:
        assert "quantiles a" in file


def test_a_damaged_or_missing_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"features\.npz"):
        FeatureEncoder.load(str(tmp_path))
    fit().save(str(tmp_path))
    path = tmp_path / "features.npz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"features\.npz: damaged: .*; remake the corpus"):
        FeatureEncoder.load(str(tmp_path))


def test_a_precomputed_file_is_named_in_no_corpus():
    columns = [Column("a", "numeric", "")]
    config = EncoderConfig(precomputed="somewhere/private.npy")
    data = FeatureEncoder.fit(columns, SAMPLE, config).to_bytes()
    assert b"private" not in data


def test_nothing_to_learn_from_is_one_line():
    with pytest.raises(UserError, match="columns: none varies before the cutoff, nothing can be"):
        fit(still="numeric", q="score")
    lists = pa.table({ROW_TIME: [0, 0], "x": [[1.0], [1.0, 2.0]]})
    with pytest.raises(UserError, match="column 'x': lists of 2 different lengths"):
        fit(lists, x="embedding")


def test_huge_embeddings_are_held_at_the_largest_half_float():
    table = pa.table({ROW_TIME: [0, 0], "x": [[1e300, -1e300], [1e5, 0.0]]})
    found = fit(table, x="embedding").encode(table)["embedding"]
    largest = np.finfo(np.float16).max
    np.testing.assert_array_equal(found, [[largest, -largest], [largest, 0]])


def test_a_frame_of_any_size_gives_the_same_rows_as_pandas():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.exponential(size=500), "k": rng.integers(0, 30, 500)})
    table = pa.Table.from_pandas(frame).append_column(ROW_TIME, pa.array([0] * 500))
    found = fit(table, x="numeric", k="categorical").encode(table)
    ranks = frame["x"].rank().to_numpy()
    assert (np.diff(found["numbers"][:, 0][np.argsort(ranks)]) >= 0).all()
    order = sorted(frame["k"].value_counts().items(), key=lambda item: (-item[1], str(item[0])))
    codes = {value: place for place, (value, _) in enumerate(order, 1)}
    assert found["categories"][:, 0].tolist() == frame["k"].map(codes).tolist()
