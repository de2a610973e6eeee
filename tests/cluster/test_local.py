"""The quickstart on a cluster of three raylets: undisturbed, stopped, killed, short of nodes."""

import os
import re
import shutil
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from hosts import wait_until
from local import JOB, SCRIPT, LocalCluster
from runs import Runs

# What a fault costs shows in the steps that are logged.
LOG_EVERY = 2
LOG = ["--train.log_every", LOG_EVERY]
OFTEN = [*LOG, "--train.checkpoint_every", 20]
SPREAD = ["--num_servers", 3, "--replicas", 2, "--mount", "hydrate"]
NUM_STEPS = 138

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def local():
    """The cluster. Processes of a node are known by their session, so nodes can be killed."""
    cluster = LocalCluster(Path(f"/tmp/rl{os.getpid()}"))
    try:
        cluster.run(SCRIPT, "up", 3, 2)
        yield cluster
    finally:
        cluster.run(SCRIPT, "down", check=False)
        shutil.rmtree(cluster.folder, ignore_errors=True)
        cluster.log.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def runs(folder):
    return Runs(folder)


@pytest.fixture(scope="module")
def start(local, folder):
    """Submits the quickstart under a name; all jobs share a corpus."""

    def start(name, *args, log="log"):
        settings = ["--storage_path", folder / "runs", "--corpus", folder / "corpus"]
        settings += ["--tracking.uri", f"sqlite:///{folder / 'mlflow.db'}", "--name", name]
        return local.start_job(f"{name}-{log}", folder / f"{name}.{log}", *settings, *args)

    return start


@pytest.fixture(scope="module")
def finish(folder):
    """Waits for a job and gives what it printed."""

    def finish(process, name, log="log", code=0):
        found = process.wait(timeout=350)
        output = (folder / f"{name}.{log}").read_text()
        assert found == code, output[-4000:]
        return output

    return finish


@pytest.fixture(scope="module")
def undisturbed(start, finish):
    """What the quickstart prints that nothing happens to, called `whole`."""
    return finish(start("whole", *LOG, "--num_workers", 2, *SPREAD), "whole")


@pytest.fixture
def start_retrieval(start, undisturbed, folder):
    """Submits a job that finds its classifier without retrieval trained: saves a minute."""

    def start_retrieval(name, *args, log="log"):
        done, mine = (folder / f"runs/{job}/no context/fitted.pt" for job in ("whole", name))
        mine.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(done, mine)
        return start(name, *args, log=log)

    return start_retrieval


def wait_for_step(runs, process, name, step, log):
    wait_until(
        lambda: process.poll() is not None or any(at >= step for at, _ in runs.steps(name)), 200
    )
    assert process.poll() is None, log.read_text()[-4000:]


def longest_wait(steps):
    """Longest time between two logged steps, seconds."""
    return max(after - before for (_, before), (_, after) in pairwise(steps))


def assert_nothing_is_left(local, before):
    """No process of the job, no temporary file but the copies of rows that later jobs find."""
    for title in ("ray::ShardServer", "ray::RayTrainWorker", "ray::StopFlag", JOB.name):
        wait_until(lambda title=title: not local.nodes_with(title), 20)
    assert not any(
        JOB.name in " ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])
    )
    copies = local.temporary / f"raclib-cache-{os.getuid()}"
    assert set(local.temporary.iterdir()) - before <= {copies}
    assert not list(local.temporary.rglob("*.tmp"))


def assert_ended_like_undisturbed(runs, name, num_steps=NUM_STEPS):
    """All steps done, and a result that differs from the other like that of another seed."""
    found = runs.find(name)
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert {step for step, _ in runs.steps(name)} == set(range(LOG_EVERY, num_steps + 1, LOG_EVERY))
    mine, other = (runs.find(job)["retrieval"].data.metrics for job in (name, "whole"))
    for score, noise in (("before/accuracy", 0.01), ("after/accuracy", 0.02)):
        print(f"{name}: {score} {mine[score]:.4f}, undisturbed {other[score]:.4f}")
        assert mine[score] == pytest.approx(other[score], abs=noise)


def test_the_quickstart_succeeds_over_three_nodes(undisturbed, runs):
    assert "after the rule change" in undisturbed
    # One voice a worker: lines, without the codes that move a terminal's cursor.
    assert re.search(r"^retrieval, worker [01]: 100%\|.*138/138", undisturbed, re.MULTILINE)
    assert "\x1b[A" not in undisturbed
    found = runs.find("whole")["retrieval"].data.metrics
    # One node, one worker: 0.972 and 0.919; seeds differ by 0.005.
    assert found["before/accuracy"] == pytest.approx(0.972, abs=0.01)
    assert found["after/accuracy"] == pytest.approx(0.919, abs=0.02)


def test_a_fetch_does_not_wait_for_an_answer_of_a_silent_host(local, folder):
    script = Path(__file__).with_name("late_answer.py")
    command = [sys.executable, script, folder / "rows", local.address]
    with subprocess.Popen(
        command, env=local.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as fetching:
        assert fetching.stdout.readline() == "ready\n"
        frozen = local.processes()[3]
        for process in frozen:
            process.suspend()
        try:
            outcome, seconds = fetching.communicate("go\n", timeout=90)[0].split()
        finally:
            for process in frozen:
                process.resume()
    assert outcome == "right"
    assert float(seconds) < 5


def test_a_stopped_and_a_killed_job_go_on_and_outlast_a_node_that_serves(
    local, start_retrieval, finish, runs, folder
):
    files = set(local.temporary.iterdir())
    job, log = start_retrieval("ends", *OFTEN, log="stopped"), folder / "ends.stopped"
    wait_for_step(runs, job, "ends", 15, log)
    local.run("ray", "job", "stop", "ends-stopped")
    assert "the same command continues it" in finish(job, "ends", "stopped")
    assert_nothing_is_left(local, files)
    found = runs.find("ends")
    assert found["ends"].info.status == found["retrieval"].info.status == "KILLED"
    assert found["no context"].info.status == "FINISHED"
    # One worker and server draw what two and three do: gradients, of the whole batch, over all
    # workers, depend on every row drawn.
    norms, expected = (runs.curve(name, "gradient_norm/retrieval") for name in ("ends", "whole"))
    for step in (2, 4):
        assert norms[step] == pytest.approx(expected[step], rel=1e-3)
    stopped = [step for step, _ in runs.steps("ends")]

    settings = [*OFTEN, "--num_workers", 2, *SPREAD]
    job, log = start_retrieval("ends", *settings, log="killed"), folder / "ends.killed"
    wait_for_step(runs, job, "ends", max(stopped) + 15, log)
    # No step was done twice: the checkpoint was of the step at which it stopped.
    steps = [step for step, _ in runs.steps("ends")]
    assert stopped == steps[: len(stopped)] and len(steps) == len(set(steps))
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if str(JOB) in command and "ends" in command and "submit" not in command:
            process.send_signal(signal.SIGKILL)
    finish(job, "ends", "killed", code=1)

    last = max(step for step, _ in runs.steps("ends"))
    job, log = start_retrieval("ends", *settings, log="continued"), folder / "ends.continued"
    wait_for_step(runs, job, "ends", last + 5, log)
    before = len(runs.steps("ends"))
    victim = max({2, 3} - local.nodes_with("ray::RayTrainWorker"))
    assert victim in local.nodes_with("ray::ShardServer")
    local.run(SCRIPT, "kill", victim)
    finish(job, "ends", "continued")
    local.add(victim)
    assert_ended_like_undisturbed(runs, "ends")
    assert {name: run.info.run_id for name, run in found.items()}.items() <= {
        name: run.info.run_id for name, run in runs.find("ends").items()
    }.items()
    assert runs.find("ends")["ends"].data.tags["resumed"] == "true"
    assert runs.find("ends")["retrieval"].data.tags["resumed"] == "true"
    lost = longest_wait(runs.steps("ends")[before - 1 :])
    print(f"a node that only serves lost: at most {lost:.1f} s between steps")


def test_training_leaves_a_drained_node_and_outlasts_a_lost_one(
    local, start_retrieval, finish, runs, folder
):
    """Neither comes back: at last only the head is there, and fewer workers."""
    # Three workers do not fit on the head; they do not share 256 examples.
    workers = ["--num_workers", 3, "--min_workers", 1, "--train.batch_size", 192]
    job, log = start_retrieval("moves", *OFTEN, *workers, *SPREAD), folder / "moves.log"
    wait_for_step(runs, job, "moves", 10, log)
    drained = max(local.nodes_with("ray::RayTrainWorker"))
    local.drain(drained)
    wait_until(lambda: "training moves to others" in log.read_text() or job.poll() is not None, 60)
    last = max(step for step, _ in runs.steps("moves"))
    wait_for_step(runs, job, "moves", last + 5, log)
    steps = runs.steps("moves")
    # No step was done twice, wherever the last checkpoint was due.
    assert [step for step, _ in steps] == [LOG_EVERY * n for n in range(1, len(steps) + 1)]
    print(f"a drained node lost: {longest_wait(steps):.1f} s between steps")
    local.run(SCRIPT, "kill", drained)

    steps = runs.steps("moves")
    victim = max(local.nodes_with("ray::RayTrainWorker"))
    assert {victim, drained} == {2, 3}
    local.run(SCRIPT, "kill", victim)
    wait_for_step(runs, job, "moves", max(step for step, _ in steps) + 10, log)
    lost = longest_wait(runs.steps("moves")[len(steps) - 1 :])
    print(f"a node that trains lost: {lost:.1f} s between steps")
    assert lost < 120
    assert "Started training worker group of size 2" in finish(job, "moves")
    assert_ended_like_undisturbed(runs, "moves", num_steps=186)
