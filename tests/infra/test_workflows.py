"""The workflows: pinned, without keys, and clean by their linters where those are installed."""

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from cloudping.settings import TABLE
from tests.conftest import ROOT

FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def jobs(text: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(text)["jobs"]
    return loaded


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_action_is_pinned_by_hash_with_its_version(file: Any) -> None:
    uses = re.findall(r"uses: (\S+)(.*)", file.read_text())
    assert uses
    for action, comment in uses:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_workflow_has_a_key_or_more_rights_than_reading(file: Any) -> None:
    text = file.read_text()
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    assert "secrets." not in text
    assert "AWS_ACCESS_KEY_ID" not in text
    for job in jobs(text).values():
        assert job["timeout-minutes"] <= 60


def test_deploying_by_hand_asks_and_by_schedule_adds_only() -> None:
    text = (ROOT / ".github" / "workflows" / "deploy.yml").read_text()
    job = jobs(text)["deploy"]
    assert "production" in job["environment"]
    assert "schedule: " not in job["environment"]
    assert "--no-frontend" in text
    known = {setting.env for setting in TABLE}
    passed = set(re.findall(r"^ +([A-Z_]+): \$\{\{ vars\.\1 \}\}", text, re.MULTILINE))
    # The rest is kept with the installation: a variable that is not set here must not reset it.
    assert passed & known == {"CLOUDPING_PREFIX", "CLOUDPING_HOME_REGION"}
    assert passed - known <= {"OPT_IN", "REGISTRY"}


def test_a_clone_without_an_account_does_not_fail_daily() -> None:
    job = jobs((ROOT / ".github" / "workflows" / "deploy.yml").read_text())["deploy"]
    assert job["if"] == "vars.AWS_DEPLOY_ROLE_ARN != ''"


def test_the_image_is_scanned_before_it_is_pushed_for_both_architectures() -> None:
    steps = jobs((ROOT / ".github" / "workflows" / "image.yml").read_text())["image"]["steps"]
    used = [step.get("uses", "").split("@")[0] for step in steps]
    builds = [n for n, action in enumerate(used) if action == "docker/build-push-action"]
    scan = used.index("aquasecurity/trivy-action")
    assert builds[0] < scan < builds[1]
    assert steps[scan]["with"]["exit-code"] == "1"
    assert steps[builds[1]]["with"]["platforms"] == "linux/amd64,linux/arm64"
    assert "push" not in steps[builds[0]]["with"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_tool_comes_with_its_hash(file: Any) -> None:
    """By pip with hashes, or as a file whose digest is checked; never by name and version alone."""
    commands = [
        step["run"] for job in jobs(file.read_text()).values() for step in job["steps"]
        if "run" in step
    ]  # fmt: skip
    for command in commands:
        assert not re.search(r"\b(pipx|npx|npm install|go install|uvx)\b", command)
        for line in re.findall(r".*\bpip install\b.*", command):
            assert "--require-hashes" in line
        if "curl " in command or "wget " in command:
            assert re.search(r"[0-9a-f]{64} .*sha256sum --check", command)


@pytest.mark.parametrize("tool", ["zizmor --offline", "actionlint"])
def test_linters_of_workflows_find_nothing(tool: str) -> None:
    name, *options = tool.split()
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed; CI's job `templates` runs it")
    done = subprocess.run([name, *options, *FILES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
