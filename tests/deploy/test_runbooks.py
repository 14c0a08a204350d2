"""The lines of kubectl in docs/ are ones that kubectl takes, and name what the manifests have.

No cluster is asked: kubectl reads its arguments, then finds nobody at the address it is given.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.rendering import K8S, ROOT, kustomize, render
from tests.runbooks import kubectl_lines

NOBODY = ("--server=http://127.0.0.1:1", "--request-timeout=2s")
AWAY = ("was refused", "connection refused", "no objects passed to apply", "Unable to connect")
PAGES = sorted(
    page for page in (ROOT / "docs").rglob("*.md") if kubectl_lines(page.read_text("utf-8"))
)
KINDS = {
    **dict.fromkeys(("deploy", "deployment", "deployments"), "Deployment"),
    **dict.fromkeys(("sts", "statefulset", "statefulsets"), "StatefulSet"),
    **dict.fromkeys(("job", "jobs"), "Job"),
}


def lines(text: str) -> list[str]:
    """Those that are whole; a line with … is a pattern."""
    return [line for line in kubectl_lines(text) if "…" not in line]


FILES = ("keys.json", "api-keys.json", "users.json")
"""What the lines read from the folder that they are called in."""


def fault(line: str, folder: Path) -> str | None:
    """What kubectl has against a line; None when it would go to the cluster with it."""
    for name in FILES:
        (folder / name).touch()
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not installed")
    words = shlex.split(line.replace("$each", "edge"))[1:]
    done = subprocess.run(
        [program, *words, *NOBODY],
        cwd=folder,
        input="",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if done.returncode == 0 or any(each in done.stderr for each in AWAY):
        return None
    return done.stderr


def unknown(line: str, known: set[tuple[str, str]]) -> list[str]:
    """The objects that a line names and the manifests do not have."""
    named = re.findall(r"\b([a-z]+)/([a-z][a-z0-9-]*)\b", line)
    named += [
        (kind, name)
        for kind, names in re.findall(r"delete ([a-z]+) ((?:[a-z][a-z-]* ?)+)", line)
        for name in names.split()
    ]
    return [
        f"{kind}/{name}"
        for kind, name in named
        if kind in KINDS and name != "k8s" and (KINDS[kind], name) not in known
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_kubectl_takes_the_lines_of_a_page(page: Path, tmp_path: Path) -> None:
    for line in lines(page.read_text("utf-8")):
        if " -k " not in line or " apply " not in line:
            assert fault(line, tmp_path) is None, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_the_lines_name_is_in_the_manifests(page: Path) -> None:
    command, missing = kustomize()
    if not command:
        pytest.skip(f"manifests are not rendered: {missing}")
    objects = render(K8S / "overlays" / "small")
    known = {(each["kind"], each["metadata"]["name"]) for each in objects}
    labels = {label for each in objects for label in (each["metadata"].get("labels") or {}).items()}
    for line in lines(page.read_text("utf-8")):
        assert unknown(line, known) == [], line
        for key, value in re.findall(r" -l ([a-z.]*/?[a-z]+)=?([a-z]*)", line):
            assert any(key == k and value in ("", v) for k, v in labels), line
        for folder in re.findall(r" -k (\S+)", line):
            assert (ROOT / folder / "kustomization.yaml").exists(), line


def test_what_is_wrong_is_found(tmp_path: Path) -> None:
    known = {("Deployment", "loader"), ("Job", "topics")}
    scale = "kubectl -n x scale deployment/loader"
    assert "unknown flag" in (fault(f"{scale} --replica=0", tmp_path) or "")
    assert fault("kubectl -n x restart deployment/loader", tmp_path)
    assert fault(f"{scale} --replicas=0", tmp_path) is None
    assert unknown("kubectl scale deployment/lader job/topics", known) == ["deployment/lader"]
    assert unknown("kubectl -n x delete job topics migrate --ignore-not-found", known) == [
        "job/migrate"
    ]
