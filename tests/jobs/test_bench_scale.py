"""The rehearsal of a long table, at a size that says nothing of length, cut and continued."""

import json

import mlflow
import pandas as pd
import pytest

from raclib.bench import scale
from raclib.bench.scale import count_wrong
from raclib.corpus import open_corpus

PHASES = ["generating", "starting Ray", "looking at columns", "reading and sorting", "fitting"]
PHASES += ["encoding", "keys", "base classifier", "opening", "loading keys", "splitting"]
PHASES += ["training", "logging the model", "evaluation", "served predictions", "checking rows"]
SIZES = ("--rows", 3000, "--rows_per_shard", 1000, "--steps", 4, "--num_checked", 300)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_phases_are_measured_and_a_cut_run_continues(
    run_here, new_store, tmp_path, monkeypatch
):
    new_store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(scale, "count_wrong", cut)
        code, _, errors = run_here("bench_scale.py", *SIZES, "--folder", "bench")
    assert code == 1, errors[-3000:]
    file = tmp_path / "bench" / "scale-3000" / "phases.json"
    before = json.loads(file.read_text())
    code, printed, errors = run_here("bench_scale.py", *SIZES, "--folder", "bench")
    assert code == 0, errors[-3000:]
    assert list(json.loads(file.read_text())) == PHASES == list(before)
    after = json.loads(file.read_text())
    # What had ended counts as it was measured when it was done.
    assert all(after[name] == before[name] for name in PHASES)
    assert "wrong_rows: 0" in printed and "missing_rows: 0" in printed

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'benchmarks'")
    (logged,) = client.search_runs(
        [experiment.experiment_id], "attributes.run_name = 'bench_scale'"
    )
    folder = client.download_artifacts(logged.info.run_id, "scale.csv", str(tmp_path))
    table = pd.read_csv(folder).set_index("phase")
    assert list(table.index) == [*PHASES, "all"]
    assert table["servers_mb"]["training"] > 0 < table["driver_own_mb"]["all"]
    assert logged.data.metrics["corpus_bytes_per_row"] > 64  # the key alone

    corpus = open_corpus(str(tmp_path / "bench" / "scale-3000" / "corpora" / "run"))
    assert count_wrong(corpus, 2999, 200) > 100  # another table


def cut(*args):
    raise KeyboardInterrupt
