"""Sizes that cannot be are one line before any work."""

import pytest


@pytest.mark.parametrize(
    ("job", "args", "code", "said"),
    [
        ("bench_draw", ["--num_keys", "[]"], 1, "num_keys: an empty list; give at least one"),
        ("bench_draw", ["--num_keys", "[7]"], 1, "slots: 8 is above num_keys 7; no row is drawn"),
        ("bench_fetch", ["--row_bytes", "[]"], 1, "row_bytes: an empty list; give at least one"),
        ("bench_scaling", ["--nodes", "[]"], 2, "nodes: an empty list; give at least one"),
        ("bench_scaling", ["--job", "short.yaml"], 1, "epochs: 3 of short.yaml make 3 steps; a"),
        ("bench_drift", ["--seeds", "[-1]"], 2, 'Parser key "seeds": '),
        ("sweep_memory", ["--factors", "[2, 2]"], 2, "factors: [2, 2]; a line needs two points"),
        ("sweep_memory", ["--num_keys", 9], 2, "slots: 8, multiplied up to 32, are above num_keys"),
        (
            "train_table",
            ["--evaluate.num_neighbours", "[]"],
            2,
            "evaluate.num_neighbours: an em",
        ),
        ("train_needle", ["--seed", 2**32], 2, "seed: 4294967296 is above 4294967295, the most"),
        ("train_needle", ["--name", ""], 2, "name: '' would be a folder outside storage_path"),
        ("train_rotating", ["--name", "../up"], 2, "name: '../up' would be a folder outside"),
    ],
)
def test_a_size_that_cannot_be_is_one_line(run_alone, tmp_path, job, args, code, said):
    (tmp_path / "short.yaml").write_text("{split: {train_examples: 9}, train: {batch_size: 9}}")
    found, printed, errors = run_alone(f"{job}.py", *args)
    assert (found, printed) == (code, "")
    assert errors.startswith(f"error: {said}")
    assert errors.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["short.yaml"]
