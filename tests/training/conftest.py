"""A training that needs no corpus, for tests of what is around it."""

import dataclasses

import pytest


@pytest.fixture(scope="session")
def needle_task():
    """Gives a task of four steps, with a checkpoint after each, kept in a folder or URI."""
    from raclib.models.mlp import MLPConfig
    from raclib.run.config import EvaluateConfig
    from raclib.tasks.generated import StepTrainConfig
    from raclib.tasks.needle.config import NeedleConfig
    from raclib.tasks.needle.task import NeedleTask

    def make(storage_path: str, **changes) -> NeedleTask:
        config = NeedleConfig(
            storage_path=storage_path,
            key_dim=8,
            history_size=8,
            history_sizes=[8],
            validation_examples=8,
            test_examples=8,
            model=MLPConfig(width=64, num_hidden=1),
            train=StepTrainConfig(num_steps=4, batch_size=8, checkpoint_every=1, max_failures=0),
            evaluate=EvaluateConfig(batch_size=8),
        )
        return NeedleTask(dataclasses.replace(config, **changes))

    return make


@pytest.fixture(scope="session")
def fit_needle(ray_cluster, needle_task):
    """Trains the task of a folder or URI, under the name `run`, and tracks it nowhere."""
    from raclib.run.tracking import RunLogger
    from raclib.training.fit import fit

    class Nowhere(RunLogger):  # local, so that workers get it by value
        def log(self, metrics, step=0, rank=0):
            pass

    def fit_it(storage_path: str, **changes):
        task = needle_task(storage_path, **changes)
        return fit(task, task.config, True, Nowhere("", "", "run"))

    return fit_it
