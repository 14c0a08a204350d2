"""Renders a kustomization with the real kustomize."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "deploy" / "k8s"
VERSION = "v5.8.2"
"""The kustomize that is built where none is installed, from its module in Go's registry."""
_BUILT = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mailwake" / "kustomize"
_MODULE = f"sigs.k8s.io/kustomize/kustomize/v5@{VERSION}"

Object = dict[str, Any]


@cache
def kustomize() -> tuple[tuple[str, ...], str]:
    """The command that renders, and, where there is none, why not.

    An installed kustomize, kubectl's own, or one that Go builds once (about a minute).
    """
    built = _BUILT / VERSION / "kustomize"
    if found := shutil.which("kustomize"):
        return (found, "build"), ""
    if built.exists():
        return (str(built), "build"), ""
    if found := shutil.which("kubectl"):
        return (found, "kustomize"), ""
    go = shutil.which("go")
    if go is None:
        return (), "no kustomize, no kubectl, and no Go to build kustomize with"
    done = subprocess.run(
        [go, "install", _MODULE],
        env=os.environ | {"GOBIN": str(built.parent), "GOFLAGS": "-mod=mod"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    if done.returncode:
        return (), f"kustomize could not be built: {done.stderr.strip().splitlines()[-1]}"
    return (str(built), "build"), ""


def render(folder: Path) -> list[Object]:
    """The objects of a kustomization. Fails with what kustomize says of a broken one."""
    command, _ = kustomize()
    done = subprocess.run(
        [*command, str(folder)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]
