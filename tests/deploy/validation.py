"""Is every object what Kubernetes takes? By the schemas that it publishes, strictly.

A field that they do not know is an error. Custom resources have no schema there; what we use of
them stands, as strictly, in custom-resources.yaml, written after what their projects publish.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from jsonschema import Draft202012Validator

from tests.deploy.rendering import Object

OLDEST, NEWEST = "1.31", "1.37"
"""The versions of Kubernetes that are checked: the first is the oldest that
docs/operations/kubernetes.md speaks of, the second the newest that kubernetes-validate knows."""


def faults(objects: Iterable[Object]) -> list[str]:
    """What is wrong, a line each."""
    return [fault for each in objects for fault in _faults(json.dumps(each))]


def name_of(each: Object) -> str:
    """How a fault names an object."""
    return f"{each.get('kind')}/{(each.get('metadata') or {}).get('name')}"


@cache  # a test changes one object of some dozens, and the schemas are large
def _faults(text: str) -> list[str]:
    each: Object = json.loads(text)
    schema = _custom().get((each.get("apiVersion"), each.get("kind")))
    if schema is not None:
        found = [
            f"{name_of(each)}: {'.'.join(map(str, error.path))}: {error.message}"
            for error in Draft202012Validator(schema).iter_errors(each)
        ]
        return found or faults(_pods(each))
    for version in (OLDEST, NEWEST):
        try:
            kubernetes_validate.validate(each, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            path = ".".join(map(str, error.path))
            return [f"{name_of(each)}: {path}: {error.message} (Kubernetes {version})"]
        except kubernetes_validate.SchemaNotFoundError:
            return [f"{name_of(each)}: no schema for {each.get('apiVersion')}"]
    return []


def _pods(custom: Object) -> list[Object]:
    """The pods that a custom resource describes, as objects of their own."""
    templates = custom["spec"].get("templates", {}).get("podTemplates", [])
    name = custom["metadata"]["name"]
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": each["spec"]}
        for each in templates
    ]


@cache
def _custom() -> dict[tuple[Any, Any], Any]:
    """The schemas of custom resources by apiVersion and kind."""
    read = yaml.safe_load((Path(__file__).parent / "custom-resources.yaml").read_text("utf-8"))
    found = {}
    for each in read["kinds"]:
        schema = {
            "type": "object",
            "required": ["apiVersion", "kind", "metadata", "spec"],
            "additionalProperties": False,
            "properties": {
                "apiVersion": {"const": each["apiVersion"]},
                "kind": {"const": each["kind"]},
                "metadata": read["metadata"],
                "spec": each["spec"],
            },
            "$defs": read["defs"],
        }
        Draft202012Validator.check_schema(schema)
        found[each["apiVersion"], each["kind"]] = schema
    return found
