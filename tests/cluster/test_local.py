"""Jobs on a cluster of three raylets: what they reach when stopped, killed, and short of nodes."""

import os
import re
import shutil
import signal
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from hosts import wait_until
from local import JOB, SCRIPT, LocalCluster, Runs

# Long enough to be hit in the middle.
LONG = ["--train.num_epochs", 30, "--train.batch_size", 48, "--train.checkpoint_every", 10]
STEPS = 150
SPREAD = ["--num_servers", 3, "--replicas", 2, "--mount", "hydrate"]

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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def runs(folder):
    return Runs(folder)


@pytest.fixture(scope="module")
def start(local, folder, write_tiny):
    """Submits the tiny job under a name; all jobs share a corpus."""
    config = write_tiny(folder)

    def start(name, *args, log="log"):
        skip_training_without_context(folder / "runs", name)
        settings = ["--config", config, "--corpus", folder / "corpus", *args]
        settings += ["--name", name]
        return local.start_job(f"{name}-{log}", folder / f"{name}.{log}", *settings)

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
def undisturbed(start, finish, runs):
    """The long job with one worker and one server, nothing happening to it."""
    finish(start("whole", *LONG), "whole")
    return runs.find("whole")["retrieval"].data.metrics


def skip_training_without_context(runs, name):
    """Gives a job what the undisturbed one's training without retrieval came to: saves a minute."""
    done, mine = (runs / job / "no context" / "fitted.pt" for job in ("whole", name))
    if done.exists() and not mine.exists():
        mine.parent.mkdir(parents=True)
        shutil.copy(done, mine)


def wait_for_step(runs, process, name, step, log):
    wait_until(
        lambda: process.poll() is not None or any(at >= step for at, _ in runs.steps(name)), 200
    )
    assert process.poll() is None, log.read_text()[-4000:]


def time_lost(runs, name):
    """Longest time between two logged steps, seconds."""
    return max(after - before for (_, before), (_, after) in pairwise(runs.steps(name)))


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


def assert_ended_like(undisturbed, runs, name, tolerance=0.15):
    """The same draws at first, all steps done, a result like it.

    After 150 steps on 256 examples rounding, which the number of workers changes, is worth 0.11.
    """
    # Gradients are of the whole batch, over all workers, and depend on every row drawn.
    norms, expected = (runs.curve(job, "gradient_norm/retrieval") for job in (name, "whole"))
    for step in range(1, 5):
        assert norms[step] == pytest.approx(expected[step], rel=1e-3)
    found = runs.find(name)
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert {step for step, _ in runs.steps(name)} == set(range(1, STEPS + 1))
    for score in ("before/accuracy", "after/accuracy"):
        value = found["retrieval"].data.metrics[score]
        assert abs(value - undisturbed[score]) < tolerance, score


def test_the_quickstart_succeeds_over_three_nodes(local, folder, finish):
    settings = ["--num_workers", 2, *SPREAD, "--storage_path", folder / "runs"]
    settings += ["--tracking.uri", f"sqlite:///{folder / 'mlflow.db'}"]
    job = local.start_job("quick", folder / "quick.log", "--name", "quick", *settings)
    output = finish(job, "quick")
    assert "after the rule change" in output
    # One voice a worker: lines, without the codes that move a terminal's cursor.
    assert re.search(r"^retrieval, worker [01]: 100%\|.*138/138", output, re.MULTILINE)
    assert "\x1b[A" not in output
    found = Runs(folder).find("quick")["retrieval"].data.metrics
    # One node, one worker: 0.972 and 0.919; seeds differ by 0.005.
    assert found["before/accuracy"] == pytest.approx(0.972, abs=0.01)
    assert found["after/accuracy"] == pytest.approx(0.919, abs=0.02)


def test_a_stopped_and_a_killed_job_are_continued_by_the_same_command(
    local, start, finish, runs, undisturbed, folder
):
    settings = [*LONG, "--num_workers", 2, *SPREAD]
    files = set(local.temporary.iterdir())
    job, log = start("ends", *settings, log="stopped"), folder / "ends.stopped"
    wait_for_step(runs, job, "ends", 15, log)
    local.run("ray", "job", "stop", "ends-stopped")
    assert "the same command continues it" in finish(job, "ends", "stopped")
    assert_nothing_is_left(local, files)
    found = runs.find("ends")
    assert found["ends"].info.status == found["retrieval"].info.status == "KILLED"
    assert found["no context"].info.status == "FINISHED"
    stopped = [step for step, _ in runs.steps("ends")]

    job, log = start("ends", *settings, log="killed"), folder / "ends.killed"
    wait_for_step(runs, job, "ends", max(stopped) + 15, log)
    # No step was done twice: the checkpoint was of the step at which it stopped.
    steps = [step for step, _ in runs.steps("ends")]
    assert stopped == steps[: len(stopped)] and len(steps) == len(set(steps))
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if str(JOB) in command and "ends" in command and "submit" not in command:
            process.send_signal(signal.SIGKILL)
    finish(job, "ends", "killed", code=1)

    finish(start("ends", *settings, log="continued"), "ends", "continued")
    assert_ended_like(undisturbed, runs, "ends")
    assert {name: run.info.run_id for name, run in found.items()}.items() <= {
        name: run.info.run_id for name, run in runs.find("ends").items()
    }.items()
    assert runs.find("ends")["ends"].data.tags["resumed"] == "true"
    assert runs.find("ends")["retrieval"].data.tags["resumed"] == "true"


def test_a_lost_node_that_only_serves(local, start, finish, runs, undisturbed, folder):
    job, log = start("serves", *LONG, *SPREAD), folder / "serves.log"
    wait_for_step(runs, job, "serves", 15, log)
    victim = max({2, 3} - local.nodes_with("ray::RayTrainWorker"))
    assert victim in local.nodes_with("ray::ShardServer")
    local.run(SCRIPT, "kill", victim)
    finish(job, "serves")
    local.run(SCRIPT, "add", victim)
    assert_ended_like(undisturbed, runs, "serves")
    print(f"a node that only serves lost: at most {time_lost(runs, 'serves'):.1f} s between steps")


def test_training_moves_off_a_drained_node(local, start, finish, runs, undisturbed, folder):
    # Enough steps for the seconds that Ray's command takes.
    workers = ["--num_workers", 3, "--train.num_epochs", 80, "--train.checkpoint_every", 1000]
    job, log = start("moves", *LONG, *workers, *SPREAD), folder / "moves.log"
    wait_for_step(runs, job, "moves", 10, log)
    victim = max(local.nodes_with("ray::RayTrainWorker"))
    local.drain(victim)
    try:
        assert "training moves to others" in finish(job, "moves")
    finally:  # the tests below need all nodes
        local.run(SCRIPT, "kill", victim)
        local.run(SCRIPT, "add", victim)
    # No step was done twice, though no checkpoint was due before the last.
    assert sorted(step for step, _ in runs.steps("moves")) == list(range(1, 401))
    assert {run.info.status for run in runs.find("moves").values()} == {"FINISHED"}
    print(f"a drained node lost: {time_lost(runs, 'moves'):.1f} s between steps")


def test_lost_nodes_that_train(local, start, finish, runs, undisturbed, folder):
    """The first one's worker finds a place on another; then there are fewer places than workers."""
    # Three workers do not fit on the head.
    workers = ["--num_workers", 3, "--min_workers", 1]
    job, log = start("trains", *LONG, *workers, *SPREAD), folder / "trains.log"
    victims = set()
    for step in (15, 60):
        wait_for_step(runs, job, "trains", step, log)
        victim = max(local.nodes_with("ray::RayTrainWorker"))
        assert victim > 1
        local.run(SCRIPT, "kill", victim)
        victims.add(victim)
    finish(job, "trains")
    assert victims == {2, 3}
    assert_ended_like(undisturbed, runs, "trains")
    lost = time_lost(runs, "trains")
    print(f"nodes that train lost: at most {lost:.1f} s between steps")
    assert lost < 120
