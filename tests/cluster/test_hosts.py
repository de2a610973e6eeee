"""Fetches and a job on three hosts, which are killed, lose their power and their cable in turn."""

import json
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hosts import BUCKET, CPUS, FAULTS, RAY_HOSTS, SUBNET, Hosts, find_tool, wait_until
from ray.train.v2._internal.constants import CHECKPOINT_MANAGER_SNAPSHOT_FILENAME
from runs import Job, Runs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FETCH_ROWS = Path(__file__).with_name("fetch_rows.py")
# What Ray Train's controller knows of a run; from there on it goes on after a fault.
SNAPSHOT = f"{BUCKET}/runs/job/retrieval/{CHECKPOINT_MANAGER_SNAPSHOT_FILENAME}"
LONGEST_FETCH_S = 5.0
FAULT_S = 30
NUM_EPOCHS, LOG_EVERY, CHECKPOINT_EVERY = 24, 4, 8
NUM_STEPS = 8 * NUM_EPOCHS


@pytest.fixture(scope="module")
def hosts(ray_start, health, tmp_path_factory):
    # A short path: sockets below it may not pass 107 bytes.
    folder = Path("/tmp") / f"rh{time.time_ns() % 10**8}"
    hosts = Hosts(find_tool(), folder)
    try:
        hosts.up(health)
        yield hosts
    finally:
        hosts.down()


class Fetching:
    """A driver on the head that fetches all the time, and what it noted."""

    def __init__(self, hosts: Hosts, name: str) -> None:
        self.log, self._stop = hosts.logs / f"{name}.jsonl", hosts.logs / f"{name}.stop"
        command = [sys.executable, str(FETCH_ROWS), f"{BUCKET}/rows", str(self.log)]
        self.process = hosts.start("n1", *command, str(self._stop), log=name)

    def events(self, kind: str) -> list[dict]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [event for event in map(json.loads, lines) if kind in event]

    def is_under_way(self) -> bool:
        assert self.process.poll() is None, self.log.with_suffix(".log").read_text()[-4000:]
        return len(self.events("outcome")) >= 30

    def stop(self) -> None:
        self._stop.touch()
        assert self.process.wait(60) == 0, self.log.with_suffix(".log").read_text()[-4000:]

    def notice(self, host: str, since: float) -> float:
        """Seconds until the head took a host for dead."""
        address = f"{SUBNET}.{host[1:]}"
        times = [e["time"] for e in self.events("alive") if address not in e["alive"]]
        return min(time for time in times if time > since) - since


def watch_servers(
    hosts: Hosts, host: str, before: dict[str, set[int]], began: float
) -> tuple[float, float]:
    """Seconds until a host's servers ended, and until others took their place; or infinity."""
    ended = replaced = float("inf")
    while max(ended, replaced) == float("inf") and time.time() < began + FAULT_S:
        servers, seconds = hosts.processes("ray::ShardServer"), time.time() - began
        if not servers[host] & before[host]:
            ended = min(ended, seconds)
        if any(servers[other] - before[other] for other in before if other != host):
            replaced = min(replaced, seconds)
        time.sleep(0.4)
    return ended, replaced


@pytest.fixture(scope="module")
def job_file(hosts, tiny_config, copy_checkout) -> Path:
    """A small configuration whose runs outlast a host, on what every host can reach."""
    copy_checkout(hosts.folder / "checkout")
    config = replace(
        tiny_config,
        storage_path=f"{BUCKET}/runs",
        corpus=f"{BUCKET}/reviews",
        num_workers=2,
        num_servers=3,
        replicas=2,
        mount="hydrate",
        tracking=replace(tiny_config.tracking, uri=hosts.tracking),
        train=replace(
            tiny_config.train,
            num_epochs=NUM_EPOCHS,
            checkpoint_every=CHECKPOINT_EVERY,
            log_every=LOG_EVERY,
            max_failures=9,
        ),
    )
    path = hosts.folder / "job.yaml"
    path.write_text(json.dumps(asdict(config)))
    return path


def submit(hosts: Hosts, log: str, *settings: str) -> subprocess.Popen:
    """Submits the job to the head; what it prints goes into a file of `hosts.logs`."""
    checkout = str(hosts.folder / "checkout")
    command = ["--working-dir", checkout, "--", "python", "jobs/train_amazon.py", *settings]
    return hosts.start("n1", *command, verb="submit", log=log)


@pytest.fixture(scope="module")
def job(hosts, job_file) -> Job:
    """A job that has no core of the head, whose loss nothing survives."""
    code = (
        "import ray; ray.init(address='auto');"
        f"bundle = {{'CPU': {CPUS}, 'node:__internal_head__': 0.001}};"
        "ray.get(ray.util.placement_group([bundle], lifetime='detached').ready())"
    )
    hosts("exec", "n1", sys.executable, "-c", code)
    process = submit(hosts, "job", f"--config={job_file}", "--name=job")
    return Job("job", process, hosts.logs / "job.log", Runs(hosts.folder))


def test_what_only_one_host_sees_is_refused(hosts, job, job_file):
    alone = hosts.folder / "cache"  # a folder of that name on each
    refused = {
        "tracking.uri": f"sqlite:///{alone / 'mlflow.db'}",
        "storage_path": str(alone / "runs"),
    }
    jobs = {
        name: submit(hosts, name, f"--config={job_file}", f"--name={name}", f"--{name}={value}")
        for name, value in refused.items()
    }
    assert {name: job.wait(120) for name, job in jobs.items()} == dict.fromkeys(refused, 1)
    logs = {name: (hosts.logs / f"{name}.log").read_text() for name in refused}
    assert "has 3: start `mlflow server` on one" in logs["tracking.uri"]
    assert f"not seen by {SUBNET}." in logs["storage_path"]
    assert not any("Traceback" in log for log in logs.values())


def registered_checkpoint(hosts: Hosts) -> str | None:
    """The last checkpoint that Ray Train's controller knows, none before the first."""
    code = (
        "import s3fs; fs = s3fs.S3FileSystem();"
        f"print(fs.cat('{SNAPSHOT}').decode() if fs.exists('{SNAPSHOT}') else '{{}}')"
    )
    snapshot = json.loads(hosts("exec", "h1", sys.executable, "-c", code))
    return (snapshot.get("latest_checkpoint_result") or {}).get("checkpoint_dir_name")


@pytest.mark.parametrize("kind", FAULTS)
def test_fetches_and_training_go_on(hosts, job, kind):
    job.wait_for_steps(1, 300)
    # The job may not end before the last fault, however fast its steps are.
    with hosts.frozen_tracking():
        known = registered_checkpoint(hosts)
        hosts.wait_until_whole()
        others = hosts.processes("ray::ShardServer")
        fetching = Fetching(hosts, f"fetch-{kind}")
        wait_until(fetching.is_under_way, 120)
    # Replicas are on different hosts: each has a server more.
    servers = hosts.processes("ray::ShardServer")
    assert all(servers[name] - others[name] for name in RAY_HOSTS)
    job.wait_for_steps(3, 300)
    # Steps are logged before the controller has the checkpoint between them.
    with hosts.frozen_tracking():
        wait_until(lambda: registered_checkpoint(hosts) not in (None, known), 60)
    training = hosts.processes("ray::RayTrainWorker")
    host = next((name for name in ("n2", "n3") if training[name]), None)
    assert host, f"no host trains: {job.log.read_text()[-4000:]}"
    # Nor may it go on long before all has been seen.
    with hosts.fault(kind, host) as began, hosts.frozen_tracking():
        ended, replaced = watch_servers(hosts, host, servers, began)
        fetching.stop()
    fetches = fetching.events("outcome")
    assert {fetch["outcome"] for fetch in fetches} == {"right"}
    before = max(f["seconds"] for f in fetches if f["time"] < began)
    longest = max(f["seconds"] for f in fetches if f["time"] >= began)
    noticed = fetching.notice(host, began)
    print(
        f"{kind} of {host}: longest of {len(fetches)} fetches {longest:.2f} s (before "
        f"{before:.2f} s); servers gone after {ended:.1f} s, host dead after {noticed:.1f} s, "
        f"servers replaced after {replaced:.1f} s"
    )
    assert longest < LONGEST_FETCH_S
    # No server lives on beside its replacement.
    assert ended < FAULT_S and ended <= replaced
    assert fetches[-1]["time"] > began + min(replaced, FAULT_S)
    # What came within a second may have been under way.
    job.wait_until(lambda: job.steps()[-1][1] > began + 1, 120)
    steps = job.steps()
    redone, went_on = next((step, logged - began) for step, logged in steps if logged > began + 1)
    assert redone > LOG_EVERY  # from a checkpoint
    done = f"{steps[-1][0]} of {NUM_STEPS} steps done"
    print(f"{kind} of {host}: training went on after {went_on:.0f} s; {done}")


def test_the_job_ends_with_its_result(hosts, job):
    hosts.wait_until_whole()
    output = job.finish(seconds=240)
    assert {run.info.status for run in job.runs.find(job.name).values()} == {"FINISHED"}
    assert {step for step, _ in job.steps()} == set(range(LOG_EVERY, NUM_STEPS + 1, LOG_EVERY))
    assert "after the rule change" in output
