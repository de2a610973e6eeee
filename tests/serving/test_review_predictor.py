"""Reviews are answered as rows of a table are."""

import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from raclib.corpus import CorpusWriter, open_corpus
from raclib.errors import UserError
from raclib.ingest.tally import Tally
from raclib.serving.review_predictor import COLUMNS, ReviewPredictor, ReviewRows
from raclib.tasks.amazon.generated import generate_reviews


@pytest.fixture
def predictor(tiny_config, tiny_corpus, tmp_path):
    """Of fresh weights, over a corpus of its own."""
    uri = str(shutil.copytree(tiny_corpus.uri, tmp_path / "corpus"))
    config = replace(tiny_config, corpus=uri)
    torch.manual_seed(0)
    weights = ReviewRows.of(open_corpus(uri), config).build_model(True).state_dict()
    return ReviewPredictor(config, weights)


@pytest.fixture(scope="module")
def reviews(tiny_config):
    table = pa.concat_tables(generate_reviews(tiny_config.generated, Tally())).slice(1950)
    wide = {name: table[name].cast(COLUMNS.field(name).type) for name in COLUMNS.names[:4]}
    flags = [bool(flag) for flag in table["verified_purchase"].to_pylist()]
    return pa.table({**wide, "verified_purchase": flags})


def test_reviews_that_are_appended_are_seen(predictor, reviews):
    assert (predictor.classes, predictor.inputs) == (("negative", "positive"), COLUMNS.names)
    before = predictor.explain(reviews, 3)
    assert before.base_NC is None
    assert (before.weights_NE > 0).all() and (before.weights_NE.sum(axis=1) < 1).all()
    corpus, num_old = predictor.corpus, len(predictor.corpus)
    late = {name: corpus.read(name, num_old - 300) for name in corpus.fields}
    late["time"][:] = corpus.time_range[1]
    with CorpusWriter(corpus.uri, corpus.fields, mode="append") as writer:
        writer.write(late)
    assert predictor.refresh()
    now = reviews.set_column(2, "timestamp", pa.array([late["time"][0] + 1] * len(reviews)))
    found = predictor.explain(now, 3)
    expected = ReviewPredictor(predictor.config, predictor.weights).explain(now, 3)
    np.testing.assert_array_equal(found.rows_NE, expected.rows_NE)
    np.testing.assert_allclose(found.probabilities_NC, expected.probabilities_NC, atol=1e-5)
    what = predictor.describe(found.rows_NE)
    np.testing.assert_array_equal(what.event_time, what.known_time)
    # Drawn rows that are left out are not read.
    out = np.unique(found.rows_NE[:, 0])
    predictor.leave_out(out)
    assert not np.isin(predictor.explain(now, 3).rows_NE, out).any()


def test_reviews_that_cannot_be_read_are_refused(predictor, reviews):
    with pytest.raises(UserError, match="no column is called 'text'; needed are title, text"):
        predictor(reviews.drop_columns("text"))
    none = pa.array([None] * len(reviews), pa.string())
    with pytest.raises(UserError, match="column 'title': a value is missing"):
        predictor(reviews.set_column(0, "title", none))
    with pytest.raises(UserError, match="column 'helpful_vote': a value of type string"):
        predictor(reviews.set_column(3, "helpful_vote", pa.array(["many"] * len(reviews))))
