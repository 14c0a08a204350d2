"""`make sbom`: what Mailwake runs on, as CycloneDX 1.6 (JSON), in dist/sbom.json.

CycloneDX's own tool describes the whole environment; what is only there for tests is left out, and
each licence stands as `release.licences` knows it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from release.licences import Part, is_allowed, parts

ROOT = Path(__file__).parents[1]
SBOM = ROOT / "dist" / "sbom.json"


def describe_environment() -> dict[str, Any]:
    """The environment of this Python, as cyclonedx-bom describes it."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible"]
    command += ["--pyproject", str(ROOT / "pyproject.toml"), "--no-validate", sys.executable]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    described: dict[str, Any] = json.loads(done.stdout)
    return described


def prune(described: dict[str, Any], kept: list[Part]) -> dict[str, Any]:
    """The same of the given parts alone, with their licences. Raises LookupError for a part that
    is not described."""
    by_name = {each.name: each for each in kept}
    root = described["metadata"]["component"]["bom-ref"]
    components = []
    for component in described["components"]:
        part = by_name.pop(canonicalize_name(component["name"]), None)
        if part is not None:
            licences = [{"expression": part.licence, "acknowledgement": "concluded"}]
            components.append(component | {"licenses": licences})
    if by_name:
        raise LookupError(f"not described: {', '.join(by_name)}")
    refs = {root, *(component["bom-ref"] for component in components)}
    dependencies = [
        each | {"dependsOn": [ref for ref in each.get("dependsOn", ()) if ref in refs]}
        for each in described["dependencies"]
        if each["ref"] in refs
    ]
    return described | {"components": components, "dependencies": dependencies}


def main() -> int:
    """Writes the file; fails when a licence is unknown or not allowed."""
    found = parts()
    refused = [
        f"{each.name}: {each.licence or 'unknown'}" for each in found if not is_allowed(each)
    ]
    if refused:
        print(f"licences that are not allowed: {'; '.join(refused)}", file=sys.stderr)
        return 1
    SBOM.parent.mkdir(exist_ok=True)
    SBOM.write_text(json.dumps(prune(describe_environment(), found), indent=1) + "\n", "utf-8")
    print(f"{SBOM.relative_to(ROOT)}: {len(found)} components")
    return 0


if __name__ == "__main__":
    sys.exit(main())
