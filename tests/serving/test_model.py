"""The model that MLflow loads predicts what the trained model predicts."""

import json
import shutil
import tempfile
from dataclasses import asdict, replace
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch

from raclib.corpus import CorpusStore, open_corpus
from raclib.errors import UserError
from raclib.ingest.config import KeyConfig
from raclib.ingest.keys import KeyTransform
from raclib.ingest.tally import Tally
from raclib.models.base import BaseConfig
from raclib.run.config import TrackingConfig
from raclib.run.paths import sqlite_uri
from raclib.run.tracking import track, using
from raclib.serving.arrow import to_arrow
from raclib.serving.model import ReviewModel, log_model
from raclib.serving.review_predictor import ReviewRows
from raclib.tasks.amazon.base import prepare_review_base
from raclib.tasks.amazon.generated import generate_reviews
from raclib.tasks.amazon.rekey import rekey_reviews, review_keys_of, rule_of
from raclib.tasks.amazon.task import AmazonTask
from raclib.training.predict import predict


def take_reviews(config, rows: slice) -> pd.DataFrame:
    """Generated reviews as a served model is given them."""
    parts = generate_reviews(config.generated, Tally())
    table = pd.concat(batch.to_pandas() for batch in parts).iloc[rows]
    return table[["title", "text", "timestamp"]].assign(
        helpful_vote=table["helpful_vote"].astype("int64"),
        verified_purchase=table["verified_purchase"].astype(bool),
    )


@pytest.mark.parametrize("with_context", [True, False])
def test_a_loaded_model_predicts_reviews_as_the_trained_one_does(
    tiny_corpus, tiny_config, tmp_path, new_store, monkeypatch, with_context
):
    with CorpusStore.start(tiny_corpus) as store:
        task = AmazonTask(tiny_config, tiny_corpus, store.client())
        torch.manual_seed(0)
        model = task.build_model(with_context)
        cpu = torch.device("cpu")
        rows = np.arange(1500, 1600)
        history = task.history("test", cpu) if with_context else None
        batch = task.load("test", rows, cpu)
        expected = predict(model, history, batch, tiny_config.retrieval)[:, 1].numpy()
    odd = tmp_path / "O'Brien ü #[1] %41 ?x"
    odd.mkdir()
    new_store(odd)
    tracking = TrackingConfig(sqlite_uri(odd / "mlflow.db"))
    with monkeypatch.context() as there, track(tracking, "model", None, {}, {}) as logger:
        there.setattr(tempfile, "tempdir", str(odd))
        log_model(tiny_config, model.state_dict())
    with using(logger.uri):
        loaded = mlflow.pyfunc.load_model(f"runs:/{logger.run_id}/model")
    reviews = take_reviews(tiny_config, slice(1500, 1600))
    np.testing.assert_allclose(loaded.predict(reviews), expected, atol=1e-3)
    seconds = reviews.reset_index(drop=True)
    seconds.loc[3, "timestamp"] = 10**9
    with pytest.raises(UserError, match=r"^row 3: timestamp: seconds\? give milliseconds$"):
        loaded.predict(seconds)


@pytest.fixture(scope="module")
def scored(tiny_config, tiny_corpus, tmp_path_factory):
    """A configuration whose keys know labels and the base classifier's answers; its corpus."""
    uri = tmp_path_factory.mktemp("scored") / "corpus"
    shutil.copytree(tiny_corpus.uri, uri)
    config = replace(
        tiny_config,
        corpus=str(uri),
        base=BaseConfig(num_folds=2),
        reader="copy",
        key=KeyConfig("supervised", dim=8, nca_dim=4, base_weight=1.0),
        retrieval=replace(tiny_config.retrieval, num_draws=0, nearest=[8], strata=[200], newest=4),
    )
    corpus, base = prepare_review_base(config, open_corpus(str(uri)))
    again, _ = prepare_review_base(config, corpus)
    assert again.version == corpus.version == 3
    return config, corpus, base


def test_a_served_review_has_the_key_that_it_has_in_the_corpus(scored, tmp_path):
    config, corpus, base = scored
    assert KeyTransform.of(corpus).parts["base"].stop == corpus.fields["key"].shape[0] == 14
    with CorpusStore.start(corpus) as store:
        task = AmazonTask(config, corpus, store.client(), base)
        weights = task.build_model(True).state_dict()
    (tmp_path / "config.yaml").write_text(json.dumps(asdict(config)))
    torch.save(weights, tmp_path / "weights.pt")
    model = ReviewModel()
    paths = {name: str(tmp_path / name) for name in ("config.yaml", "weights.pt")}
    model.load_context(
        SimpleNamespace(artifacts={"config": paths["config.yaml"], "weights": paths["weights.pt"]})
    )
    reviews = take_reviews(config, slice(1800, 1900))
    found = model.predict(reviews)
    assert ((found > 0) & (found < 1)).all()
    # After the cutoff rows are scored by the classifier that scores new ones.
    key = ReviewRows.of(corpus, config).encode(to_arrow(reviews))["key"]
    np.testing.assert_allclose(key, corpus.read("key")[1800:1900], atol=2e-3)


def test_reviews_are_rekeyed_and_what_they_were_made_of_stays(scored):
    config, corpus, _ = scored
    key = replace(review_keys_of(corpus), base_weight=0.0)
    later = rekey_reviews(corpus, key, config.rule)
    assert review_keys_of(later) == key
    assert later.fields["key"].shape == (12,)
    with pytest.raises(UserError, match="made without a labelling rule"):
        rule_of(later)  # the keys it was made with knew no labels
    back = rekey_reviews(later, review_keys_of(corpus), config.rule)
    np.testing.assert_allclose(back.read("key"), corpus.read("key"), atol=2e-3)
