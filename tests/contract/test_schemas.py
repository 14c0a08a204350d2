"""The JSON Schemas and the codecs say the same: field by field, and value by value."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailwake import contracts, track, webhook
from mailwake.codec import InvalidError
from mailwake.schemas import schemas_root
from mailwake.topics import registry
from tests.contract.examples import CODECS, GOOD, accepts, parts, schema, validator

STRUCTS: dict[str, type[msgspec.Struct]] = {
    "send": contracts.Send,
    "display": contracts.Display,
    "hit": contracts.Hit,
    "event": contracts.Event,
    "alert": contracts.Alert,
    "alert_reads": contracts.AlertReads,
    "track": track.Track,
    "preference": contracts.Preference,
    "mute": contracts.Mute,
    "digest": contracts.Digest,
    "policy": contracts.Policy,
    "consent": contracts.Consent,
    "reclassified": track.Reclassified,
    "erasure": contracts.Erasure,
    "removal": contracts.Removal,
    "webhook": webhook.Webhook,
    "delivery": webhook.Delivery,
}
ANNOTATIONS = {"title", "description", "$comment", "$id", "$schema", "$defs"}
CONDITIONS = {"if", "then", "else"}


def shape(node: Any, document: dict[str, Any]) -> Any:
    """A schema in one normal form: references followed, annotations and conditions left out."""
    if isinstance(node, list):
        return [shape(each, document) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target, rest = node["$ref"], {k: v for k, v in node.items() if k != "$ref"}
        if target.startswith("mailwake:"):
            other = schema(target.split(":")[1])
            return shape(other | rest, other)
        found = document["$defs"][target.removeprefix("#/$defs/")]
        return shape(found | rest, document)
    if "anyOf" in node:
        some = [shape(each, document) for each in node["anyOf"]]
        (value,) = [each for each in some if each != {"type": "null"}]
        if "enum" in value:
            return {**value, "enum": [*value["enum"], None], **default_of(node)}
        return {**value, "type": [value["type"], "null"], **default_of(node)}
    formed = {
        key: shape(value, document)
        for key, value in node.items()
        if key not in ANNOTATIONS | CONDITIONS | {"properties"}
    }
    if "properties" in node:
        formed["properties"] = {
            name: shape(value, document) for name, value in node["properties"].items()
        }
        formed["required"] = sorted(node.get("required", []))
    if "const" in formed:
        formed["enum"] = [formed.pop("const")]
    if "enum" in formed:
        formed["enum"].sort(key=lambda each: (each is None, each))
        formed.pop("type", None)
    if formed.get("minItems") == 0:
        del formed["minItems"]
    return formed


def default_of(node: dict[str, Any]) -> dict[str, Any]:
    return {"default": node["default"]} if "default" in node else {}


@pytest.mark.parametrize("contract", CODECS)
def test_a_schema_and_its_struct_have_the_same_shape(contract: str) -> None:
    theirs = msgspec.json.schema(STRUCTS[contract])
    assert shape(schema(contract), schema(contract)) == shape(theirs, theirs)


def test_a_difference_in_shape_would_be_found() -> None:
    theirs = msgspec.json.schema(contracts.Hit)
    wrong = copy.deepcopy(schema("hit"))
    wrong["properties"]["agent"]["maxLength"] = 513
    assert shape(wrong, wrong) != shape(theirs, theirs)


def test_items_of_arrays_are_named_as_the_fields() -> None:
    described = schema("track")
    parts = described["$defs"]
    for items, struct in (
        (described, track.Track),
        (parts["trackedSend"], track.TrackedSend),
        (parts["mark"], track.Mark),
        (parts["tally"], track.Tally),
    ):
        named = [item["title"] for item in items["prefixItems"]]
        assert named == [field.name for field in msgspec.structs.fields(struct)]


@pytest.mark.parametrize("contract", CODECS)
def test_a_schema_is_in_good_form(contract: str) -> None:
    document = schema(contract)
    jsonschema.Draft202012Validator.check_schema(document)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["title"] == STRUCTS[contract].__name__
    (version,) = {topic.version for topic in registry().values() if topic.schema == contract}
    assert document["$id"] == f"mailwake:{contract}:{version}"
    fields = document.get("properties", {}).values() or document["prefixItems"]
    for field in fields:
        assert field["description"].endswith("."), field
    text = (schemas_root() / "json" / f"{contract}.schema.json").read_text("utf-8")
    assert text.endswith("}\n")
    assert list(document)[:4] == ["$schema", "$id", "title", "description"]


@pytest.mark.parametrize("contract", CODECS)
def test_times_say_their_unit(contract: str) -> None:
    said = json.dumps(schema(contract))
    times = [name for name in ("sent_at", '"at"', "millis") if name in said]
    assert not times or "milliseconds since the Unix epoch" in said.replace("M", "m")


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 1, 2, 65535, 65536, 1 << 31, (1 << 31) + 1, 1 << 42, (1 << 42) + 1]),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.sampled_from(["open", "click", "anonymous", "identified", "human", "scanner", "HEAD"]),
    st.sampled_from(["acme", "a@b", "a\n", "A", "-a", "a" * 20, "a" * 21, "u/1", "\x85", "\ufeff"]),
    st.from_regex(r"[0-9a-f]{32}\n?", fullmatch=True),
    st.sampled_from(
        [0, 1, 63, 64, 65, 255, 256, 257, 320, 321, 512, 513, 998, 999, 8192, 8193]
    ).map("ä".__mul__),
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=2), st.just({}))
"""What is put in the place of a right value: the bounds, and what stands just beyond them."""

SEEDS: dict[str, list[Any]] = {
    contract: [
        part
        for example in GOOD
        if registry()[example.topic].schema == contract
        for part in parts(example.data, batched=registry()[example.topic].batched)
    ]
    for contract in CODECS
}


@st.composite
def damaged(draw: st.DrawFn, contract: str) -> Any:
    """An example with some of its values replaced, taken away or doubled, at any depth."""
    value = copy.deepcopy(draw(st.sampled_from(SEEDS[contract])))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.sampled_from(list(places(value))))
        if not place:
            return draw(VALUES)
        holder = value
        for step in place[:-1]:
            holder = holder[step]
        match draw(st.sampled_from(["replace", "replace", "delete", "double"])):
            case "replace":
                holder[place[-1]] = draw(VALUES)
            case "delete":
                del holder[place[-1]]
            case "double" if isinstance(holder, list):
                holder.append(holder[place[-1]])
            case _:
                holder["unknown"] = draw(VALUES)
    return value


def places(value: Any) -> list[tuple[Any, ...]]:
    """The paths to everything in a value, itself first."""
    steps: list[Any] = []
    if isinstance(value, dict):
        steps = list(value)
    elif isinstance(value, list):
        steps = list(range(len(value)))
    return [(), *((step, *rest) for step in steps for rest in places(value[step]))]


@pytest.mark.parametrize("contract", CODECS)
@given(data=st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_what_one_accepts_the_other_accepts(contract: str, data: st.DataObject) -> None:
    value = data.draw(damaged(contract))
    try:
        CODECS[contract].decode(msgspec.json.encode(value))
        error = None
    except InvalidError as invalid:
        error = invalid
    assert accepts(contract, value) == (error is None), error or [
        each.message for each in validator(contract).iter_errors(value)
    ]


def test_a_whole_number_is_written_without_a_point() -> None:
    value = SEEDS["hit"][0] | {"at": 1.0}
    assert jsonschema.Draft202012Validator(schema("hit")).is_valid(value)
    assert not validator("hit").is_valid(value)
    with pytest.raises(InvalidError):
        CODECS["hit"].decode(json.dumps(value).encode())
