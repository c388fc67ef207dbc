"""Stacks in every state that CloudFormation documents, from a stub that plays them."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.aws import stacks
from infra.aws.stacks import NotOursError, StackError
from tests.conftest import ROOT

NAME = "cloudping-operations"
OURS = {"Project": "cloudping", "Installation": "default"}
UPDATABLE = (
    "CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_FAILED", "UPDATE_ROLLBACK_COMPLETE",
    "IMPORT_COMPLETE", "IMPORT_ROLLBACK_COMPLETE",
)  # fmt: skip
NEVER_MADE = (
    "CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED", "REVIEW_IN_PROGRESS",
)  # fmt: skip
STUCK = ("UPDATE_ROLLBACK_FAILED", "IMPORT_ROLLBACK_FAILED")
IN_PROGRESS = {
    "CREATE_IN_PROGRESS": "CREATE_COMPLETE",
    "ROLLBACK_IN_PROGRESS": "ROLLBACK_COMPLETE",
    "DELETE_IN_PROGRESS": "",
    "UPDATE_IN_PROGRESS": "UPDATE_COMPLETE",
    "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS": "UPDATE_COMPLETE",
    "UPDATE_ROLLBACK_IN_PROGRESS": "UPDATE_ROLLBACK_COMPLETE",
    "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS": "UPDATE_ROLLBACK_COMPLETE",
    "IMPORT_IN_PROGRESS": "IMPORT_COMPLETE",
    "IMPORT_ROLLBACK_IN_PROGRESS": "IMPORT_ROLLBACK_COMPLETE",
}


class Formation:
    """A CloudFormation with one stack: `status` is what it is in, "" for none.

    `ends` says how the next operation ends; an operation takes two looks.
    """

    def __init__(self, status: str = "", ends: str | None = None, **stack: Any) -> None:
        self.status, self.ends, self.stack = status, ends, stack
        self.calls: list[str] = []
        self.request: dict[str, Any] = {}
        self.events: list[dict[str, Any]] = []
        self._looks = 0

    def describe_stacks(self, StackName: str) -> dict[str, Any]:
        if self.status in IN_PROGRESS:
            self._looks += 1
            if self._looks % 3 == 0:
                self.status = self.ends if self.ends is not None else IN_PROGRESS[self.status]
                self.ends = None
        if not self.status:
            error = {"Code": "ValidationError", "Message": f"Stack {StackName} does not exist"}
            raise ClientError({"Error": error}, "DescribeStacks")
        tags = self.stack.get("tags", OURS)
        return {
            "Stacks": [
                {
                    "StackName": StackName,
                    "StackStatus": self.status,
                    "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
                    "Parameters": [
                        {"ParameterKey": key, "ParameterValue": value}
                        for key, value in self.stack.get("parameters", {}).items()
                    ],
                }
            ]
        }

    def get_template(self, StackName: str) -> dict[str, Any]:
        return {"TemplateBody": self.stack.get("body", "")}

    def _begin(self, operation: str, request: dict[str, Any]) -> None:
        self.calls.append(operation)
        self.request = request
        self.status = f"{operation.upper()}_IN_PROGRESS"

    def create_stack(self, **request: Any) -> None:
        assert not self.status, f"AWS refuses to create a stack that is {self.status}"
        self._begin("create", request)

    def update_stack(self, **request: Any) -> None:
        assert self.status in UPDATABLE, f"AWS refuses to update a stack that is {self.status}"
        self._begin("update", request)

    def delete_stack(self, **request: Any) -> None:
        assert self.status == "REVIEW_IN_PROGRESS" or not self.status.endswith("IN_PROGRESS")
        self._begin("delete", request)

    def get_paginator(self, name: str) -> "Formation":
        assert name == "describe_stack_events"
        return self

    def paginate(self, StackName: str) -> Iterator[dict[str, Any]]:
        for event in self.events:  # a page each
            yield {"StackEvents": [{"StackId": "arn:stack", **event}]}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by a minute whenever somebody sleeps."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", lambda _: clock.__setitem__(0, clock[0] + 60))


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "t.yaml"
    path.write_text("Parameters:\n  Prefix: {Type: String}\nResources:\n  A: {Type: !Sub x}\n")
    return path


def apply(formation: Formation, template: Path) -> str:
    return stacks.apply(formation, NAME, template, {"Prefix": ""}, OURS)


@pytest.mark.parametrize("status", ["", *NEVER_MADE])
def test_what_was_never_made_is_created_after_its_rest_is_gone(status: str, template: Path) -> None:
    formation = Formation(status)
    assert stacks.plan(formation, NAME, template, {}, OURS) == "create"
    assert apply(formation, template) == "created"
    assert formation.calls == (["delete", "create"] if status else ["create"])


@pytest.mark.parametrize("status", UPDATABLE)
def test_what_stands_is_updated_and_only_when_it_differs(status: str, template: Path) -> None:
    formation = Formation(status)
    assert stacks.plan(formation, NAME, template, {"Prefix": ""}, OURS) == "update"
    assert apply(formation, template) == "updated"
    assert formation.calls == ["update"]

    same: dict[str, Any] = {"body": template.read_text(), "parameters": {"Prefix": ""}}
    settled = Formation(status, **same)
    is_whole = status.endswith("COMPLETE") and "ROLLBACK" not in status
    assert apply(settled, template) == ("unchanged" if is_whole else "updated")


def test_a_tag_that_is_missing_is_a_difference(template: Path) -> None:
    same: dict[str, Any] = {"body": template.read_text(), "parameters": {"Prefix": ""}}
    formation = Formation("CREATE_COMPLETE", tags={"Project": "cloudping"}, **same)
    assert apply(formation, template) == "updated"
    assert {"Key": "Installation", "Value": "default"} in formation.request["Tags"]


@pytest.mark.parametrize("status", IN_PROGRESS)
def test_what_is_in_progress_is_waited_for(status: str, template: Path) -> None:
    formation = Formation(status)
    outcome = apply(formation, template)
    ended = IN_PROGRESS[status]
    expected = {"": ["create"], "ROLLBACK_COMPLETE": ["delete", "create"]}.get(ended, ["update"])
    assert formation.calls == expected
    assert outcome == ("updated" if expected == ["update"] else "created")


def test_nothing_is_waited_for_without_end(template: Path) -> None:
    formation = Formation("UPDATE_IN_PROGRESS", ends="UPDATE_IN_PROGRESS")
    formation.describe_stacks = lambda StackName: {  # type: ignore[method-assign]
        "Stacks": [{"StackStatus": "UPDATE_IN_PROGRESS", "Tags": [{"Key": "Project", "Value": "cloudping"}]}]  # noqa: E501
    }  # fmt: skip
    with pytest.raises(StackError, match=r"UPDATE_IN_PROGRESS for 30 minutes.*cancel-update-stack"):
        apply(formation, template)
    assert not formation.calls


@pytest.mark.parametrize("status", STUCK)
def test_what_is_stuck_is_left_with_the_command_that_frees_it(status: str, template: Path) -> None:
    formation = Formation(status)
    with pytest.raises(StackError, match=rf"{status} .*`aws cloudformation \S+ --stack-name"):
        apply(formation, template)
    assert not formation.calls


def test_every_state_that_aws_documents_is_dealt_with() -> None:
    import boto3

    client = boto3.client("cloudformation", region_name="us-east-2")
    documented = client.meta.service_model.shape_for("StackStatus").enum
    assert {*UPDATABLE, *NEVER_MADE, *STUCK, *IN_PROGRESS, "DELETE_COMPLETE"} == set(documented)


@pytest.mark.parametrize(
    "tags",
    [{}, {"Project": "another"}, {"Project": "cloudping", "Installation": "blue-"}, {"Owner": "x"}],
)
def test_a_stack_of_somebody_else_is_neither_changed_nor_deleted(
    tags: dict[str, str], template: Path
) -> None:
    formation = Formation("CREATE_COMPLETE", tags=tags)
    for work in (
        lambda: stacks.plan(formation, NAME, template, {}, OURS),
        lambda: apply(formation, template),
        lambda: stacks.delete(formation, NAME, OURS),
    ):
        with pytest.raises(NotOursError, match="somebody else's"):
            work()
    assert not formation.calls


def test_a_parameter_that_the_template_dropped_is_not_sent_back(template: Path) -> None:
    formation = Formation("UPDATE_COMPLETE", parameters={"Prefix": "a-", "Dropped": "1"})
    assert stacks.kept(formation, NAME, template) == {"Prefix": "a-"}
    assert stacks.kept(Formation(), NAME, template) == {}


def test_every_template_says_its_parameters() -> None:
    for template in (ROOT / "infra" / "templates").glob("*.yaml"):
        assert "Prefix" in stacks._declared(template.read_text()) or template.stem == "pair"


def event(resource: str, status: str, reason: str = "") -> dict[str, Any]:
    said = {"ResourceStatusReason": reason} if reason else {}
    physical = "arn:stack" if resource == NAME else f"id-{resource}"
    return {
        "LogicalResourceId": resource,
        "PhysicalResourceId": physical,
        "ResourceStatus": status,
        **said,
    }


def test_the_reason_is_the_first_failure_of_the_newest_operation(template: Path) -> None:
    formation = Formation("UPDATE_COMPLETE", ends="UPDATE_ROLLBACK_COMPLETE")
    formation.events = [
        event(NAME, "UPDATE_ROLLBACK_COMPLETE"),
        event(NAME, "UPDATE_ROLLBACK_IN_PROGRESS"),
        event("Late", "UPDATE_FAILED", "fails because of Topic"),
        event("Other", "UPDATE_FAILED", "Resource update cancelled"),
        event("Topic", "UPDATE_FAILED", "no right to tag"),
        event("Topic", "UPDATE_IN_PROGRESS"),
        event(NAME, "UPDATE_IN_PROGRESS"),
        event("Ancient", "CREATE_FAILED", "of last year"),
        event(NAME, "CREATE_IN_PROGRESS"),
    ]
    with pytest.raises(StackError, match="ended as UPDATE_ROLLBACK_COMPLETE: Topic: no right to"):
        apply(formation, template)


def test_a_deletion_that_fails_says_why(template: Path) -> None:
    formation = Formation("CREATE_COMPLETE", ends="DELETE_FAILED")
    formation.events = [event("Vpc", "DELETE_FAILED", "has dependencies")]
    with pytest.raises(StackError, match="ended as DELETE_FAILED: Vpc: has dependencies"):
        stacks.delete(formation, NAME, OURS)
    assert not stacks.delete(Formation(), NAME, OURS)
