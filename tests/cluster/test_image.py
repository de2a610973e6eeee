"""The image: made of files that exist, without root, and nothing secret in what is published."""

import re
import shlex
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

# What keys, tokens and passwords look like; a reference to a Secret or a variable does not.
SECRETS = [
    r"\b(AKIA|ASIA)[0-9A-Z]{16}\b",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    r"(?i)\b\w*(password|passwd|secret_access_key|session_token|auth_token)['\"]?\s*[:=]\s*"
    r"['\"]?(?![$<~.\"']|\s|$)\w[^\s,}'\"]{3,}",
    r"\b[A-Za-z][\w+.-]*://[^\s:/@$]+:[^\s@$]+@",
    r"\b[0-9a-f]{32,}\b",
]


def instructions(root) -> list[tuple[str, str]]:
    text = (root / "cluster" / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    pairs = [line.split(None, 1) for line in lines if line and not line.startswith("#")]
    return [(name, rest) for name, rest in pairs]


def secrets(text: str) -> list[str]:
    return [found.group() for pattern in SECRETS for found in re.finditer(pattern, text)]


def test_it_copies_what_exists_and_what_docker_may_see(root):
    ignore = (root / ".dockerignore").read_text().splitlines()
    rules = [line for line in ignore if line and not line.startswith("#")]
    assert rules[0] == "*"
    visible = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = [shlex.split(rest)[:-1] for name, rest in instructions(root) if name == "COPY"]
    sources = {source for step in copied for source in step}
    assert all((root / source).exists() for source in visible)
    assert sources == visible


def test_its_python_is_one_that_the_package_takes(root):
    [base] = [rest for name, rest in instructions(root) if name == "FROM"]
    [version] = re.findall(r"^python:(\d+\.\d+)-slim", base)
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert SpecifierSet(project["requires-python"]).contains(version)


def test_it_installs_pinned_versions(root):
    runs = " ".join(rest for name, rest in instructions(root) if name == "RUN")
    assert runs.count("pip install") == runs.count("--constraint constraints.txt") == 2
    extras = dict(rest.split("=") for name, rest in instructions(root) if name == "ARG")
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lines = (root / "constraints.txt").read_text().splitlines()
    pinned = {Requirement(line).name.lower().replace("_", "-") for line in lines}
    for extra in extras["EXTRAS"].split(","):
        for requirement in project["optional-dependencies"][extra]:
            assert Requirement(requirement).name in pinned


def test_it_does_not_run_as_root_and_has_what_others_call(root):
    steps = instructions(root)
    users = [rest for name, rest in steps if name == "USER"]
    assert users
    assert users[-1].isdigit()
    assert int(users[-1]) > 0
    assert [rest for name, rest in steps if name == "WORKDIR"] == ["/opt/raclib"]
    # KubeRay's probes, and Triton.
    packages = next(rest for name, rest in steps if "apt-get install" in rest).split()
    assert {"wget", "gcc"} <= set(packages)
    assert (root / "cluster" / "drain.sh").stat().st_mode & 0o111


def test_no_file_holds_a_secret(root):
    files = [path for path in (root / "cluster").rglob("*") if path.is_file()]
    assert len(files) >= 8
    for path in [*files, root / ".dockerignore"]:
        if path.suffix != ".pyc":
            assert not secrets(path.read_text()), path


@pytest.mark.parametrize(
    "text",
    [
        "AWS_ACCESS_KEY_ID=" + "AKIA" + "ABCDEFGHIJKLMNOP",
        "POSTGRES_" + "PASSWORD: hunter2",
        '{name: POSTGRES_USER, "password": "hunter2"}',
        "RAY_AUTH_" + "TOKEN=0123abcd0123abcd",
        "postgresql://mlflow:" + "hunter2@host/mlflow",
        "0123456789abcdef" * 2,
    ],
)
def test_a_secret_would_be_found(text):
    assert secrets(text)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://mlflow:$(POSTGRES_PASSWORD)@mlflow-postgres:5432/mlflow",
        "secretKeyRef: {name: mlflow-postgres, key: password}",
        "~/.ray/auth_token: ~/.ray/auth_token",
        '--from-literal=password="$(openssl rand -hex 24)"',
    ],
)
def test_a_reference_to_a_secret_is_none(text):
    assert not secrets(text)
