"""The model that MLflow loads predicts what the trained model predicts."""

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch

from raclib.corpus import CorpusStore
from raclib.ingest.tally import Tally
from raclib.run.config import TrackingConfig
from raclib.run.tracking import track
from raclib.serving.model import log_model
from raclib.tasks.amazon.generated import generate_reviews
from raclib.tasks.amazon.task import AmazonTask
from raclib.training.predict import predict


@pytest.mark.parametrize("with_context", [True, False])
def test_a_loaded_model_predicts_reviews_as_the_trained_one_does(
    tiny_corpus, tiny_config, tmp_path, new_store, with_context
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
    with track(TrackingConfig(new_store(tmp_path)), "model", "model", {}, {}) as logger:
        log_model(tiny_config, model.state_dict())
    loaded = mlflow.pyfunc.load_model(f"runs:/{logger.run_id}/model")
    table = pd.concat(
        batch.to_pandas() for batch in generate_reviews(tiny_config.generated, Tally())
    )
    reviews = table.iloc[1500:1600][["title", "text", "timestamp"]].assign(
        helpful_vote=table["helpful_vote"].iloc[1500:1600].astype("int64"),
        verified_purchase=table["verified_purchase"].iloc[1500:1600].astype(bool),
    )
    np.testing.assert_allclose(loaded.predict(reviews), expected, atol=1e-3)
