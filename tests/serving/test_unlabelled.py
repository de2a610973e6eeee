"""Rows without a label are predicted, those and no others."""

import numpy as np
import pandas as pd
import pytest

from raclib.errors import UserError
from raclib.ingest.files import TableFiles
from raclib.serving.table_predictor import TablePredictor
from raclib.serving.unlabelled import predict_unlabelled


@pytest.fixture(scope="module")
def predictor(shared_classifier):
    return TablePredictor(shared_classifier.config_, shared_classifier.weights_)


def test_rows_without_a_label_are_predicted(predictor, shared_classifier, history_table, tmp_path):
    history_table.loc[[5, 6]].assign(answer=None, happened=None).to_parquet(tmp_path / "b.parquet")
    history_table.to_parquet(tmp_path / "a.parquet")
    uri = str(tmp_path / "out" / "found.parquet")
    assert predict_unlabelled(predictor, TableFiles.find(str(tmp_path)), uri) == (100, 2)
    found = pd.read_parquet(uri)
    expected = history_table[history_table["answer"].isna()]
    assert list(found.columns) == ["line", "time", "probability_no", "probability_yes"]
    np.testing.assert_array_equal(found["line"], expected.index)
    np.testing.assert_array_equal(found["time"], expected["happened"])
    probabilities_NC = shared_classifier.predict_proba(expected)
    np.testing.assert_allclose(found.iloc[:, 2:], probabilities_NC, atol=1e-5)


def test_no_file_appears_where_a_row_cannot_be_predicted(predictor, history_table, tmp_path):
    history_table.drop(columns="kind").to_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"no column .kind."):
        predict_unlabelled(predictor, TableFiles.find(str(tmp_path)), str(tmp_path / "out.parquet"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_a_table_whose_rows_all_have_labels_gives_no_row(predictor, history_table, tmp_path):
    history_table.dropna(subset="answer").to_parquet(tmp_path / "a.parquet")
    uri = str(tmp_path / "out.parquet")
    assert predict_unlabelled(predictor, TableFiles.find(str(tmp_path / "a.parquet")), uri) == (
        0,
        0,
    )
    assert len(pd.read_parquet(uri)) == 0
