"""The cluster on EC2: valid for Ray's launcher, authenticated, reached by ssh only."""

import re

import pytest
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config


def starts(aws: dict) -> list[str]:
    """The commands that start Ray, on the head and on workers."""
    commands = aws["head_start_ray_commands"] + aws["worker_start_ray_commands"]
    return [command for command in commands if "ray start" in command]


def test_the_launcher_accepts_it(aws):
    validate_config(prepare_config(aws))


def test_the_launcher_refuses_a_misspelt_field(aws):
    with pytest.raises(ValidationError, match="setup_command"):
        validate_config(prepare_config({**aws, "setup_command": []}))


def test_ray_starts_with_the_health_settings_and_a_token_or_not_at_all(aws):
    assert len(starts(aws)) == 2
    for command in starts(aws):
        before, after = command.split("&& ~/venv/bin/ray start")
        limit, settings = before.split("; ", 1)
        assert limit == "ulimit -n 65536"
        # Joined by && so that Ray does not start without them.
        steps = settings.strip().split(" && ")
        assert steps[:3] == ["set -a", ". ~/raclib/cluster/health.env", "set +a"]
        assert "RAY_AUTH_MODE=token" in steps[3]
        assert "RACLIB_CACHE_DIR=/mnt/nvme/" in steps[3]
        assert "token" not in after
    mounts = aws["file_mounts"]
    assert mounts["~/raclib/cluster"] == "cluster"
    assert mounts["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "chmod 600 ~/.ray/auth_token" in aws["setup_commands"]


def test_the_settings_are_a_shell_file(cluster, health):
    text = (cluster / "health.env").read_text()
    settings = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(settings) == len(health) == 4
    for line in settings:
        assert re.fullmatch(r"RAY_\w+=\d+", line), line


def test_the_dashboard_listens_on_loopback(aws):
    [head] = [command for command in starts(aws) if "--head" in command]
    assert re.findall(r"--dashboard-host=(\S+)", head) == ["127.0.0.1"]
    assert "0.0.0.0" not in str(aws)


def test_only_ssh_from_a_named_range_comes_in(aws):
    [rule] = aws["provider"]["security_group"]["IpPermissions"]
    assert rule["FromPort"] == rule["ToPort"] == 22
    [network] = rule["IpRanges"]
    assert not network["CidrIp"].endswith("/0")


def test_nodes_reach_s3_by_their_role(aws):
    types = aws["available_node_types"]
    assert types[aws["head_node_type"]]["resources"]["CPU"] == 0
    for name, node in types.items():
        config = node["node_config"]
        assert config["IamInstanceProfile"]["Name"].startswith("raclib-")
        assert config["MetadataOptions"] == {"HttpTokens": "required"}
        assert node["min_workers"] <= node["max_workers"], name
    assert sum(node["max_workers"] for node in types.values()) <= aws["max_workers"]
    assert types["serve"]["node_config"]["InstanceType"].startswith("i4i.")
    assert types["train"]["node_config"]["InstanceType"].startswith("p5.")


def test_what_is_copied_exists_and_is_enough_to_install(aws, root):
    local = [path for path in aws["file_mounts"].values() if not path.startswith("~")]
    assert all((root / path).exists() for path in local)
    assert {"raclib", "jobs", "configs", "pyproject.toml", "constraints.txt"} <= set(local)
    scripts = re.findall(r"~/raclib/(cluster/\S+\.sh)", " ".join(aws["setup_commands"]))
    assert scripts
    assert all((root / script).exists() for script in scripts)
    # A stopped instance would start again without its disks.
    assert aws["provider"]["cache_stopped_nodes"] is False
