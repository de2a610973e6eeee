"""The manifests, read once; makes the hosts importable beside the tests."""

import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def cluster(root) -> Path:
    return root / "cluster"


@pytest.fixture(scope="session")
def documents(cluster) -> dict[tuple[str, str], dict]:
    """Every Kubernetes object of the manifests, by kind and name."""
    found: dict[tuple[str, str], dict] = {}
    for path in sorted((cluster / "kuberay").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            key = (document["kind"], document["metadata"]["name"])
            assert key not in found, f"{path}: {key} is there twice"
            found[key] = document
    return found


@pytest.fixture(scope="session")
def ray_specs(documents) -> dict[str, dict]:
    """The specs of Ray clusters: the one that stays, the job's and the service's."""
    return {
        "raycluster": documents["RayCluster", "raclib"]["spec"],
        "rayjob": documents["RayJob", "train-amazon"]["spec"]["rayClusterSpec"],
        "rayservice": documents["RayService", "serve"]["spec"]["rayClusterConfig"],
    }


@pytest.fixture(scope="session")
def ray_groups(ray_specs) -> list[dict]:
    """Head and worker groups of all Ray clusters."""
    return [
        group
        for spec in ray_specs.values()
        for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    ]


@pytest.fixture(scope="session")
def pods(documents, ray_groups) -> list[dict]:
    """Every pod spec there is."""
    templates = [group["template"] for group in ray_groups]
    for kind in ("Deployment", "StatefulSet"):
        templates += [d["spec"]["template"] for (k, _), d in documents.items() if k == kind]
    return [template["spec"] for template in templates]


@pytest.fixture(scope="session")
def health(cluster) -> dict[str, str]:
    """The settings of health.env, as `set -a; . health.env` has them."""
    lines = (cluster / "health.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.fixture(scope="session")
def aws(cluster) -> dict:
    return yaml.safe_load((cluster / "aws.yaml").read_text())
