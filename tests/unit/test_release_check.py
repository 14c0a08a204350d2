"""What stands against a release is found."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from mailwake import __version__
from release.check import ROOT, FaultError, check_changelog, check_wheel, version


def test_the_versions_agree() -> None:
    assert version() == __version__
    check_changelog((ROOT / "CHANGELOG.md").read_text("utf-8"), version())


@pytest.mark.parametrize(
    "text",
    ["## Unreleased\n", "## 0.1.0 – 2026-11-27\n", "## Unreleased\n## 0.1.0 – 2026-11-27\n"],
)
def test_a_changelog_that_agrees(text: str) -> None:
    check_changelog(text, "0.1.0")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("# Changelog\n", "has no heading"),
        ("## 0.1.0\n", "is no version with its date"),
        ("## 0.2.0 – 2026-11-27\n", "begins with 0.2.0"),
        ("## Unreleased\n## 0.2.0 – 2026-11-27\n", "tells of 0.2.0"),
        ("## Unreleased\n## Soon\n", "is no version"),
    ],
)
def test_a_changelog_that_does_not(text: str, told: str) -> None:
    with pytest.raises(FaultError, match=told):
        check_changelog(text, "0.1.0")


def test_a_wheel_without_its_schemas_is_told(tmp_path: Path) -> None:
    wheel = tmp_path / "mailwake-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("mailwake/__init__.py", "")
    with pytest.raises(FaultError, match="lacks mailwake/schemas/"):
        check_wheel(wheel)
