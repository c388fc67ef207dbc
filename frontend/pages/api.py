"""`/api`: the OpenAPI document as a page: no script of its own, nothing from elsewhere."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flask import Blueprint, render_template, url_for

from frontend.data.site import site
from frontend.serving.cache import keep

# What an example asks for in place of a parameter of the path.
EXAMPLES: Final = {"source": "us-east-1", "target": "eu-west-1"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation as the table shows it."""

    name: str
    in_path: bool
    type: str
    format: str
    default: str
    meaning: str
    choices: list[str]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an answer, with those inside it."""

    name: str
    meaning: str
    fields: "list[Field]"


@dataclass(frozen=True, slots=True)
class Operation:
    """One address: `id` is its anchor, `example` a path that can be asked for."""

    id: str
    summary: str
    description: str
    path: str
    example: str
    parameters: list[Parameter]
    fields: list[Field]


def blueprint(document: Callable[[], dict[str, Any]]) -> Blueprint:
    """The page on the document that `document` gives."""
    made = Blueprint("reading", __name__)

    @made.get("/api")
    def page() -> str:
        spec = document()
        keep()
        return render_template(
            "api.html",
            description=spec["info"]["description"],
            operations=operations(spec),
            document=url_for("v1.openapi"),
            url=site().settings.frontend_url,
        )

    return made


def operations(spec: Mapping[str, Any]) -> list[Operation]:
    """What the document says of each address, in its order."""
    return [
        Operation(
            id=get["summary"].lower().replace(" ", "-"),
            summary=get["summary"],
            description=get.get("description", ""),
            path=path,
            example=path.format(**EXAMPLES),
            parameters=[_parameter(p) for p in get.get("parameters", ()) if "name" in p],
            fields=_fields(_schema_of(get), spec["components"]["schemas"]),
        )
        for path, item in spec["paths"].items()
        if (get := item.get("get"))
    ]


def _parameter(found: Mapping[str, Any]) -> Parameter:
    schema = found["schema"]
    kinds = schema.get("type", "string")
    default = schema.get("default")
    return Parameter(
        name=found["name"],
        in_path=found["in"] == "path",
        type=kinds if isinstance(kinds, str) else kinds[0],
        format=schema.get("format", ""),
        default="" if default is None else str(default),
        meaning=found.get("description", "a region's code"),
        choices=[value for value in schema.get("enum", ()) if value is not None],
    )


def _schema_of(get: Mapping[str, Any]) -> Mapping[str, Any]:
    content = get["responses"]["200"].get("content", {})
    schema: Mapping[str, Any] = content.get("application/json", {}).get("schema", {})
    return schema


def _fields(schema: Mapping[str, Any], schemas: Mapping[str, Any], within: int = 0) -> list[Field]:
    """The fields of an answer, two levels of nesting deep."""
    if "$ref" in schema:
        return _fields(schemas[schema["$ref"].rsplit("/", 1)[1]], schemas, within)
    if "items" in schema:
        return _fields(schema["items"], schemas, within)
    return [
        Field(
            name,
            field.get("description", ""),
            _fields(field, schemas, within + 1) if within < 2 else [],
        )
        for name, field in schema.get("properties", {}).items()
    ]
