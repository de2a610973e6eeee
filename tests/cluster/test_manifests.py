"""What the Kubernetes manifests promise beyond their schemas."""

import copy
import importlib
import shlex
import tomllib

import mlflow.cli
import pytest
import ray
import yaml
from mlflow.server.security_utils import is_allowed_host_header, should_block_cors_request

from raclib.errors import UserError
from raclib.run.cli import parse
from raclib.tasks.amazon.config import AmazonConfig

UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "": 1, "m": 1e-3}
SCRIPT = "/opt/raclib/jobs/train_amazon.py"


def number(quantity: str) -> float:
    """A Kubernetes quantity in bytes or cores."""
    digits = quantity.rstrip("KMGTim")
    return float(digits) * UNITS[quantity[len(digits) :]]


def mounts(container: dict) -> dict[str, str]:
    return {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}


def environment(container: dict) -> dict[str, dict]:
    return {variable["name"]: variable for variable in container.get("env", [])}


def config_maps(env_from: list[dict]) -> set[str]:
    return {source["configMapRef"]["name"] for source in env_from if "configMapRef" in source}


@pytest.fixture(scope="module")
def job(documents, root) -> AmazonConfig:
    """What the entrypoint of the job tells the script, by the script's own parser."""
    python, script, *args = shlex.split(documents["RayJob", "train-amazon"]["spec"]["entrypoint"])
    assert (python, script) == ("python", SCRIPT)
    return parse(AmazonConfig, root / "configs" / "amazon_quickstart.yaml", args)


@pytest.fixture(scope="module")
def server(documents) -> dict:
    """The options of the MLflow server, by MLflow's own parser."""
    pod = documents["Deployment", "mlflow"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["command"] == ["mlflow"]
    name, *args = container["args"]
    with mlflow.cli.cli.commands[name].make_context(name, args) as context:
        return context.params


def test_health_settings_are_those_of_hosts(documents, health):
    assert len(health) == 4
    assert documents["ConfigMap", "raclib-ray-health"]["data"] == health


def test_every_ray_process_reads_health_and_authentication(documents, ray_specs, ray_groups):
    assert documents["ConfigMap", "raclib-ray"]["data"]["RAY_AUTH_MODE"] == "token"
    settings = {"raclib-ray-health", "raclib-ray"}
    for spec in ray_specs.values():
        assert spec["authOptions"] == {"mode": "token"}
        assert config_maps(spec["autoscalerOptions"]["envFrom"]) == settings
    for group in ray_groups:
        [container] = group["template"]["spec"]["containers"]
        assert config_maps(container["envFrom"]) == settings
        # What stands in env would override what is read from the maps.
        assert not any(name.startswith("RAY_") for name in environment(container))


def test_shared_memory_exceeds_the_object_store_and_fits(ray_groups):
    for group in ray_groups:
        pod = group["template"]["spec"]
        [container] = pod["containers"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        shared = volumes[mounts(container)["/dev/shm"]]["emptyDir"]
        assert shared["medium"] == "Memory"
        store = int(group["rayStartParams"]["object-store-memory"])
        memory = number(container["resources"]["limits"]["memory"])
        assert store < number(shared["sizeLimit"]) < memory


def test_copies_of_the_corpus_go_to_a_volume_without_a_limit(ray_groups):
    for group in ray_groups:
        pod = group["template"]["spec"]
        [container] = pod["containers"]
        folder = environment(container)["RACLIB_CACHE_DIR"]["value"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes[mounts(container)[folder]]["emptyDir"] == {}
        assert "ephemeral-storage" not in container["resources"]["limits"]


def test_head_does_no_work_and_is_reached_from_inside_only(documents, ray_specs):
    for spec in ray_specs.values():
        head = spec["headGroupSpec"]
        assert head["rayStartParams"]["num-cpus"] == head["rayStartParams"]["num-gpus"] == "0"
        assert head["serviceType"] == "ClusterIP"
        assert head["enableIngress"] is False
    for (kind, name), document in documents.items():
        assert kind != "Ingress", name
        if kind == "Service":
            assert document["spec"].get("type", "ClusterIP") == "ClusterIP", name


def test_clusters_scale(ray_specs):
    for spec in ray_specs.values():
        assert spec["enableInTreeAutoscaling"] is True
        assert spec["autoscalerOptions"]["version"] == "v2"
        assert spec["rayVersion"] == ray.__version__
        [group] = spec["workerGroupSpecs"]
        assert group["minReplicas"] < group["maxReplicas"]


def test_workers_that_train_have_gpus(ray_specs):
    for name in ("raycluster", "rayjob"):
        [group] = ray_specs[name]["workerGroupSpecs"]
        pod = group["template"]["spec"]
        assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
        resources = pod["containers"][0]["resources"]
        assert int(resources["limits"]["nvidia.com/gpu"]) >= 1
        assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"]


def test_the_job_has_the_cluster_that_stays_but_for_its_size(ray_specs):
    sizeless = {name: copy.deepcopy(ray_specs[name]) for name in ("raycluster", "rayjob")}
    for spec in sizeless.values():
        for group in spec["workerGroupSpecs"]:
            for size in ("replicas", "minReplicas", "maxReplicas"):
                del group[size]
    assert sizeless["raycluster"] == sizeless["rayjob"]


def test_the_job_fits_the_cluster_that_it_starts_on(job, ray_specs):
    [group] = ray_specs["rayjob"]["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert job.use_gpu is True
    assert group["minReplicas"] * int(limits["nvidia.com/gpu"]) >= job.num_workers
    assert group["minReplicas"] * number(limits["cpu"]) > job.num_workers
    assert job.train.batch_size % job.num_workers == 0


def test_the_job_keeps_everything_where_every_node_sees_it(job, documents, server):
    assert job.storage_path.startswith("s3://")
    assert job.corpus_uri.startswith("s3://")
    host = job.tracking.uri.removeprefix("http://")
    assert is_allowed_host_header(server["allowed_hosts"].split(","), host)
    service = documents["Service", host.split(":")[0]]["spec"]
    assert [port["port"] for port in service["ports"]] == [int(host.split(":")[1])]


def test_a_failed_job_continues_and_a_finished_one_goes(documents):
    spec = documents["RayJob", "train-amazon"]["spec"]
    # A new cluster gets the same name and storage path, whose last checkpoint it goes on from.
    assert spec["backoffLimit"] >= 1
    assert "--name" in spec["entrypoint"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0


def test_stopping_waits_for_a_checkpoint(documents, ray_groups):
    for group in ray_groups:
        pod = group["template"]["spec"]
        if group.get("groupName") == "gpu":
            [script, seconds] = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
            assert script == "/opt/raclib/cluster/drain.sh"
            assert pod["terminationGracePeriodSeconds"] >= int(seconds) + 20
        elif "groupName" not in group:
            wait = int(documents["ConfigMap", "raclib-ray"]["data"]["RAY_JOB_STOP_WAIT_TIME_S"])
            assert pod["terminationGracePeriodSeconds"] > wait


@pytest.fixture(scope="module")
def serve_config(documents) -> dict:
    return yaml.safe_load(documents["RayService", "serve"]["spec"]["serveConfigV2"])


def test_the_service_is_one_that_can_be_built(serve_config):
    [application] = serve_config["applications"]
    module, name = application["import_path"].split(":")
    build = getattr(importlib.import_module(module), name)
    told = build(application["args"])._bound_deployment.init_args[0]
    assert told.run.startswith("s3://") and told.tracking.uri.startswith("http://")
    with pytest.raises(UserError, match="replica_count"):
        build({**application["args"], "replica_count": 2})


def test_the_service_fits_its_pods_and_listens_where_they_say(serve_config, ray_specs):
    [application] = serve_config["applications"]
    told, [group] = application["args"], ray_specs["rayservice"]["workerGroupSpecs"]
    [container] = group["template"]["spec"]["containers"]
    assert told["cpus"] <= number(container["resources"]["limits"]["cpu"])
    assert told["replicas"] <= group["minReplicas"]
    assert {"name": "serve", "containerPort": serve_config["http_options"]["port"]} in container[
        "ports"
    ]


def test_every_pod_of_the_service_has_the_token(serve_config, ray_specs):
    [application] = serve_config["applications"]
    folder, _, _ = application["args"]["token_file"].rpartition("/")
    spec = ray_specs["rayservice"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        [container] = pod["containers"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert "secret" in volumes[mounts(container)[folder]]


def test_no_pod_has_more_rights_than_it_needs(pods):
    assert len(pods) == 8
    for pod in pods:
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["enableServiceLinks"] is False
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert ":" in container["image"]
            assert not container["image"].endswith(":latest")
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        # Only the head speaks to Kubernetes, for the autoscaler beside it.
        if pod.get("serviceAccountName") != "raclib-head":
            assert pod["automountServiceAccountToken"] is False


def test_images_are_this_version(pods, root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    images = [container["image"] for pod in pods for container in pod["containers"]]
    ours = [image for image in images if not image.startswith("postgres:")]
    assert set(ours) == {f"raclib:{project['version']}"}
    assert len(ours) == len(images) - 1


def test_accounts_and_maps_that_pods_name_exist(documents, pods):
    for pod in pods:
        account = pod.get("serviceAccountName")
        assert account is None or ("ServiceAccount", account) in documents
        for container in pod["containers"]:
            for source in config_maps(container.get("envFrom", [])):
                assert ("ConfigMap", source) in documents
            for variable in environment(container).values():
                assert set(variable) in ({"name", "value"}, {"name", "valueFrom"})


def test_passwords_come_from_secrets(pods):
    for pod in pods:
        for container in pod["containers"]:
            for name, variable in environment(container).items():
                if "PASSWORD" in name:
                    assert "secretKeyRef" in variable["valueFrom"]
            for source in container.get("envFrom", []):
                # Without the Secret, the pod's own identity is used.
                assert source.get("secretRef", {"optional": True})["optional"] is True
    uris = [
        environment(container)["MLFLOW_BACKEND_STORE_URI"]["value"]
        for pod in pods
        for container in pod["containers"]
        if container["name"] == "mlflow"
    ]
    assert uris == ["postgresql+psycopg://mlflow:$(POSTGRES_PASSWORD)@mlflow-postgres:5432/mlflow"]


def test_mlflow_answers_to_its_names_only(server):
    hosts = server["allowed_hosts"].split(",")
    assert is_allowed_host_header(hosts, "localhost:5000")
    assert not is_allowed_host_header(hosts, "mlflow.example.com:5000")
    origins = server["cors_allowed_origins"].split(",")
    assert should_block_cors_request("http://example.com", "POST", origins)
    assert server["serve_artifacts"] is True
    assert server["artifacts_destination"].startswith("s3://")
    assert server["backend_store_uri"] is None


def test_services_find_their_pods_and_probes_their_port(documents):
    for kind, name in (("Deployment", "mlflow"), ("StatefulSet", "mlflow-postgres")):
        spec = documents[kind, name]["spec"]
        labels = spec["template"]["metadata"]["labels"]
        [container] = spec["template"]["spec"]["containers"]
        service = documents["Service", name]["spec"]
        assert spec["selector"]["matchLabels"] == labels
        assert service["selector"].items() <= labels.items()
        ports = {port["name"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["ports"]} <= ports
        assert {"readinessProbe", "livenessProbe"} <= set(container)
    [container] = documents["Deployment", "mlflow"]["spec"]["template"]["spec"]["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        # The only path that MLflow answers to a caller by address.
        assert container[probe]["httpGet"] == {"path": "/health", "port": "http"}
