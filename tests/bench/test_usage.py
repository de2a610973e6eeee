"""What phases cost, against work of a known size."""

import json
import subprocess
import sys
import time

import numpy as np

from raclib.bench.usage import Usage, UsageMeter

# In a process of its own, which no Ray is below.
WORK = """
import json, time
from dataclasses import asdict
import numpy as np
from raclib.bench.usage import UsageMeter

with UsageMeter("idle") as meter:
    time.sleep(0.5)
    meter.begin("busy")
    end = time.process_time() + 0.5
    while time.process_time() < end:
        pass
    held = np.ones(50_000_000 // 8)
    time.sleep(1.2)
    del held
    meter.begin("idle")
    time.sleep(0.2)
print(json.dumps({name: asdict(usage) for name, usage in meter.phases.items()}))
"""


def test_work_counts_to_its_phase():
    command = [sys.executable, "-c", WORK]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    phases = {name: Usage(**values) for name, values in json.loads(done.stdout).items()}
    idle, busy = phases["idle"], phases["busy"]
    assert idle.seconds > 0.65 and busy.seconds > 0.95
    assert busy.cpu_seconds > 0.45 and idle.cpu_seconds < busy.cpu_seconds
    assert busy.total_mb > idle.total_mb + 40
    assert busy.workers_mb == 0  # there is no Ray


def test_memory_of_ray_workers_is_seen_and_the_object_store_is_not(ray_cluster):
    @ray_cluster.remote
    def hold():
        own = np.ones(100_000_000 // 8)
        time.sleep(1.5)
        return own.sum()

    shared = ray_cluster.put(np.ones(200_000_000 // 8))

    @ray_cluster.remote
    def read(array):
        total = array.sum()
        time.sleep(1.0)
        return total

    with UsageMeter("before") as meter:
        time.sleep(0.5)
        meter.begin("own")
        ray_cluster.get(hold.remote())
        meter.begin("shared")
        ray_cluster.get(read.remote(shared))
    phases = meter.phases
    assert phases["own"].workers_mb > phases["before"].workers_mb + 80
    assert phases["shared"].workers_mb < phases["own"].workers_mb + 100
