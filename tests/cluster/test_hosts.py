"""A corpus and a job on three hosts, one of which is killed, loses its power or its cable."""

import json
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hosts import BUCKET, CPUS, ROOT, SUBNET, Hosts, find_tool, wait_until
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FETCH_ROWS = Path(__file__).with_name("fetch_rows.py")
# Of each fault: the host it befalls, and the seconds to look on.
FAULTS = [("kill", "n2", 20), ("power", "n3", 25), ("cut", "n2", 30)]
LONGEST_FETCH_S = 5.0
JOB_FAULT_S = 30
# Eight steps an epoch; the fault comes after some of them.
NUM_EPOCHS, STEPS_BEFORE = 14, 20
NUM_STEPS = 8 * NUM_EPOCHS


@pytest.fixture(scope="module")
def hosts(health, tmp_path_factory):
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


def watch_servers(hosts: Hosts, host: str, pids: set[int], began: float, until: float) -> float:
    """Seconds until these servers ended; infinity if they had not at the end."""
    while time.time() < until:
        if not pids & hosts.processes(host, "ray::ShardServer"):
            return time.time() - began
        time.sleep(0.1)
    return float("inf")


@pytest.mark.parametrize(("kind", "host", "seconds"), FAULTS)
def test_fetches_go_on(hosts, kind, host, seconds):
    fetching = Fetching(hosts, f"fetch-{kind}")
    wait_until(fetching.is_under_way, 120)
    servers = hosts.processes(host, "ray::ShardServer")
    # Replicas are on different hosts: each has one server.
    assert all(len(hosts.processes(name, "ray::ShardServer")) == 1 for name in ("n1", "n2", "n3"))
    with hosts.fault(kind, host) as began:
        ended = watch_servers(hosts, host, servers, began, began + seconds)
        time.sleep(max(0.0, began + seconds - time.time()))
    fetching.stop()
    fetches = fetching.events("outcome")
    assert {fetch["outcome"] for fetch in fetches} == {"right"}
    before = max(f["seconds"] for f in fetches if f["time"] < began)
    longest = max(f["seconds"] for f in fetches if f["time"] >= began)
    noticed = fetching.notice(host, began)
    print(
        f"{kind}: longest fetch {longest:.2f} s (before {before:.2f} s) of {len(fetches)}; servers "
        f"gone after {ended:.1f} s, host taken for dead after {noticed:.1f} s"
    )
    assert longest < LONGEST_FETCH_S
    # No server lives on beside its replacement.
    assert ended < noticed
    assert fetches[-1]["time"] > began + seconds


@pytest.fixture(scope="module")
def job_file(hosts, tiny_config) -> Path:
    """A small configuration whose runs outlast a host, on what every host can reach."""
    config = replace(
        tiny_config,
        storage_path=f"{BUCKET}/runs",
        corpus=f"{BUCKET}/reviews",
        num_workers=2,
        num_servers=3,
        replicas=2,
        mount="hydrate",
        tracking=replace(tiny_config.tracking, uri=hosts.tracking),
        train=replace(tiny_config.train, num_epochs=NUM_EPOCHS, checkpoint_every=8),
    )
    path = hosts.folder / "job.yaml"
    path.write_text(json.dumps(asdict(config)))
    return path


def submit(hosts: Hosts, log: str, *settings: str) -> subprocess.Popen:
    """Submits the job to the head; what it prints goes into a file of `hosts.logs`."""
    command = ["--working-dir", str(ROOT), "--", "python", "jobs/train_amazon.py", *settings]
    return hosts.start("n1", *command, verb="submit", log=log)


def test_what_only_one_host_sees_is_refused(hosts, job_file):
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


def runs_of(hosts: Hosts, job: str) -> dict[str, Run]:
    """The MLflow runs of a job by name."""
    client = MlflowClient(hosts.database)
    experiments = [found.experiment_id for found in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.`raclib.run` LIKE '{BUCKET}/runs/{job}%'")
    return {run.info.run_name: run for run in found}


def steps_logged(hosts: Hosts, job: str) -> int:
    """The last step that a job's retrieval logged."""
    run = runs_of(hosts, job).get("retrieval")
    points = MlflowClient(hosts.database).get_metric_history(run.info.run_id, "loss") if run else []
    return max((point.step for point in points), default=0)


@pytest.fixture(scope="module")
def idle_head(hosts):
    """Keeps work off the head, whose loss nothing survives, from before the first job on."""
    code = (
        "import ray; ray.init(address='auto');"
        f"bundle = {{'CPU': {CPUS}, 'node:__internal_head__': 0.001}};"
        "ray.get(ray.util.placement_group([bundle], lifetime='detached').ready())"
    )
    hosts("exec", "n1", sys.executable, "-c", code)


def training_host(hosts: Hosts) -> str | None:
    """A host with a training worker."""
    found = (h for h in ("n2", "n3") if hosts.processes(h, "ray::RayTrainWorker"))
    return next(found, None)


def skip_training_without_context(hosts: Hosts, kind: str) -> None:
    """Gives a job what the first one's training without retrieval came to: saves a minute."""
    first, mine = (f"{BUCKET}/runs/{job}/no context/fitted.pt" for job in (FAULTS[0][0], kind))
    code = f"import s3fs; s3fs.S3FileSystem().copy({first!r}, {mine!r})"
    if mine != first:
        hosts("exec", "n1", sys.executable, "-c", code)


@pytest.mark.parametrize("kind", [kind for kind, _, _ in FAULTS])
def test_a_job_ends_with_its_result(hosts, idle_head, job_file, kind):
    skip_training_without_context(hosts, kind)
    log = hosts.logs / f"job-{kind}.log"
    job = submit(hosts, log.stem, f"--config={job_file}", f"--name={kind}")
    wait_until(lambda: steps_logged(hosts, kind) >= STEPS_BEFORE or job.poll() is not None, 300)
    assert job.poll() is None, log.read_text()[-4000:]
    host = training_host(hosts)
    assert host, f"no host trains after step {steps_logged(hosts, kind)}: {log.read_text()[-4000:]}"
    with hosts.fault(kind, host) as began:
        steps = steps_logged(hosts, kind)
        time.sleep(JOB_FAULT_S)
    assert job.wait(240) == 0, log.read_text()[-4000:]
    print(f"{kind} of {host} after step {steps}: job ended {time.time() - began:.0f} s later")
    assert STEPS_BEFORE <= steps < NUM_STEPS
    assert {run.info.status for run in runs_of(hosts, kind).values()} == {"FINISHED"}
    assert steps_logged(hosts, kind) == NUM_STEPS
    assert "after the rule change" in log.read_text()
