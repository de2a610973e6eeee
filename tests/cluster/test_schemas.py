"""Every manifest is what its schema says, down to the pods inside those of Ray."""

import copy
from typing import Annotated, Any, Literal

import kubernetes_validate
import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ray.serve.schema import ServeDeploySchema

KUBERNETES = "1.33"
RAY_KINDS = ("RayCluster", "RayJob", "RayService")
Count = Annotated[int, Field(ge=0, strict=True)]
Parameters = dict[str, Annotated[str, Field(strict=True)]]


class Strict(BaseModel):
    """The fields of ray.io/v1 (KubeRay 1.7) that the manifests use; any other is a mistake."""

    model_config = ConfigDict(extra="forbid")


class AuthOptions(Strict):
    mode: Literal["disabled", "token"]


class AutoscalerOptions(Strict):
    version: Literal["v1", "v2"]
    upscalingMode: Literal["Default", "Aggressive", "Conservative"]
    idleTimeoutSeconds: Count
    envFrom: list[dict]
    securityContext: dict
    resources: dict


class HeadGroup(Strict):
    serviceType: Literal["ClusterIP", "NodePort", "LoadBalancer"]
    enableIngress: bool
    rayStartParams: Parameters
    template: dict


class WorkerGroup(Strict):
    groupName: str
    replicas: Count
    minReplicas: Count
    maxReplicas: Count
    rayStartParams: Parameters
    template: dict

    @model_validator(mode="after")
    def in_order(self):
        assert self.minReplicas <= self.replicas <= self.maxReplicas
        return self


class RayClusterSpec(Strict):
    rayVersion: str
    authOptions: AuthOptions
    enableInTreeAutoscaling: bool
    autoscalerOptions: AutoscalerOptions
    headGroupSpec: HeadGroup
    workerGroupSpecs: Annotated[list[WorkerGroup], Field(min_length=1)]


class SubmitterConfig(Strict):
    backoffLimit: Count


class RayJobSpec(Strict):
    entrypoint: str
    submissionMode: Literal["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]
    submitterConfig: SubmitterConfig
    backoffLimit: Count
    shutdownAfterJobFinishes: bool
    ttlSecondsAfterFinished: Count
    rayClusterSpec: RayClusterSpec

    @model_validator(mode="after")
    def time_to_live_needs_a_shutdown(self):
        assert self.shutdownAfterJobFinishes or not self.ttlSecondsAfterFinished
        return self


class UpgradeStrategy(Strict):
    type: Literal["NewCluster", "None", "NewClusterWithIncrementalUpgrade"]


class RayServiceSpec(Strict):
    serveConfigV2: str
    upgradeStrategy: UpgradeStrategy
    rayClusterConfig: RayClusterSpec

    @field_validator("serveConfigV2")
    @classmethod
    def is_what_serve_reads(cls, text: str) -> str:
        ServeDeploySchema.model_validate(yaml.safe_load(text))
        return text


class Metadata(Strict):
    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,45}[a-z0-9])?$")]


class RayCluster(Strict):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayCluster"]
    metadata: Metadata
    spec: RayClusterSpec


class RayJob(Strict):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: RayJobSpec


class RayService(Strict):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayService"]
    metadata: Metadata
    spec: RayServiceSpec


def check(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


def check_pod(template: dict[str, Any]) -> None:
    name = {"name": "wrapped"}
    check({"apiVersion": "v1", "kind": "PodTemplate", "metadata": name, "template": template})


def test_kubernetes_objects_are_valid(documents):
    core = [d for (kind, _), d in documents.items() if kind not in RAY_KINDS]
    assert len(core) >= 9
    for document in core:
        check(document)


def test_ray_objects_are_valid(documents, ray_specs):
    RayCluster.model_validate(documents["RayCluster", "raclib"])
    RayJob.model_validate(documents["RayJob", "train-amazon"])
    RayService.model_validate(documents["RayService", "serve"])
    for spec in ray_specs.values():
        # What the operator copies into a container: checked as one.
        options = spec["autoscalerOptions"]
        fields = {name: options[name] for name in ("envFrom", "securityContext", "resources")}
        check_pod({"spec": {"containers": [{"name": "autoscaler", **fields}]}})


def test_pods_of_ray_are_valid(ray_groups):
    assert len(ray_groups) == 6
    for group in ray_groups:
        check_pod(group["template"])


def test_a_misspelt_field_of_a_pod_is_an_error(ray_groups):
    template = copy.deepcopy(ray_groups[0]["template"])
    template["spec"]["containers"][0]["volumeMount"] = []
    with pytest.raises(kubernetes_validate.ValidationError, match="volumeMount"):
        check_pod(template)


@pytest.mark.parametrize(
    "path, value",
    [
        (("rayClusterSpec", "autoscaling"), True),
        (("rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("rayClusterSpec", "authOptions", "mode"), "none"),
        (("submissionMode",), "Sidecar"),
        (("shutdownAfterJobFinishes",), False),
    ],
)
def test_a_wrong_field_of_a_ray_job_is_an_error(documents, path, value):
    job = copy.deepcopy(documents["RayJob", "train-amazon"])
    place = job["spec"]
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(ValidationError):
        RayJob.model_validate(job)


@pytest.mark.parametrize("old, new", [("import_path:", "import:"), ("port: 8000", "port: http")])
def test_a_wrong_field_of_what_serve_reads_is_an_error(documents, old, new):
    service = copy.deepcopy(documents["RayService", "serve"])
    text = service["spec"]["serveConfigV2"]
    service["spec"]["serveConfigV2"] = text.replace(old, new, 1)
    with pytest.raises(ValidationError):
        RayService.model_validate(service)
