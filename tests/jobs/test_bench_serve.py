"""The benchmark of a service, at sizes that say nothing about speed."""

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from aiohttp import web

from raclib.bench.serve import Load

JOB = Path(__file__).parents[2] / "jobs" / "bench_serve.py"
LOADS = ["one row", "batches", "appends", "one row, beside appends"]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.mark.slow
def test_every_load_is_answered_and_logged(tmp_path):
    sizes = ["--num_rows", 1500, "--trained_rows", 800, "--key_dim", 16, "--seconds", 2]
    loads = ["--append_seconds", 3, "--append_rate", 100, "--append_rows", 20, "--rate", 4]
    where = ["--folder", "bench", "--port", free_port()]
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    command = [sys.executable, JOB, "--tracking.uri", uri, *sizes, *loads, *where]
    done = subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "bench").iterdir())
    client = mlflow.MlflowClient(uri)
    (experiment,) = client.search_experiments(filter_string="name = 'benchmarks'")
    runs = [experiment.experiment_id], "attributes.run_name = 'bench_serve'"
    (logged,) = client.search_runs(*runs)
    assert logged.data.metrics["num_rows"] == 1500
    assert 0 < logged.data.metrics["key_width"] <= 16
    assert logged.data.metrics["load_s"] > 0
    folder = Path(client.download_artifacts(logged.info.run_id, "", str(tmp_path)))
    table = pd.read_csv(folder / "serve.csv").set_index("load")
    assert list(table.index) == LOADS
    assert (table.failed == 0).all() and (table.rows_per_s > 0).all()
    assert (table.p99_ms >= table.p50_ms).all() and (table.p50_ms > 0).all()
    assert table.requests["appends"] == 15 and table.requests["one row"] == 8


def test_what_waits_for_a_slow_answer_is_late_and_a_refusal_counts_as_never():
    async def offer() -> tuple:
        # One at a time, a fifth of a second each: twenty a second are four times too many.
        lock, bodies = asyncio.Lock(), []

        async def slow(request: web.Request) -> web.Response:
            bodies.append(body := await request.text())
            async with lock:
                await asyncio.sleep(0.2)
            return web.Response(status=503 if body == "bad" else 200)

        app = web.Application()
        app.router.add_post("/v1/predict", slow)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port := free_port())
        await site.start()
        load = Load(f"http://127.0.0.1:{port}", "/v1/predict", [b"a", b"b", b"bad"])
        offered = await load.offer(20, 0.6)
        steady = await load.ask_steadily(1, 0.7)
        await runner.cleanup()
        return offered, steady, bodies

    offered, steady, bodies = asyncio.run(offer())
    assert sorted(bodies[:12]) == ["a"] * 4 + ["b"] * 4 + ["bad"] * 4
    assert offered.num_answered == 8 and np.isinf(offered.seconds_R[2::3]).all()
    # The last is due after 0.55 s and answered after 12 x 0.2.
    assert offered.seconds_R[-2] > 1 > offered.seconds_R[0] - 1
    assert offered.span_s >= 2.4 and offered.per_s == 8 / offered.span_s
    assert np.isinf(offered.ms(0.99)) and offered.ms(0.5) < 1e4
    assert len(steady.seconds_R) >= 1 and steady.seconds_R[0] >= 0.19
