"""deploy/Dockerfile: pinned, small, not root, from the lock alone; built where there is Docker."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from tests.deploy.rendering import K8S, ROOT

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
LOCKS = ROOT / "deploy" / "locks"
TEXT = DOCKERFILE.read_text("utf-8")
FINAL = re.findall(r"^FROM base AS (\S+)$", TEXT, re.MULTILINE)
EXTRAS = {name: (name, "tracing") for name in FINAL} | {"setup": ("kafka", "clickhouse")}


def entries(file: Path) -> dict[str, set[str]]:
    """A lock file: its `name==version` with their hashes."""
    found: dict[str, set[str]] = {}
    for line in file.read_text("utf-8").splitlines():
        if match := re.match(r"([a-z0-9._-]+(?:\[[a-z,]+\])?==\S+)", line):
            hashes = found.setdefault(re.sub(r"\[.*\]", "", match[1]), set())
        elif match := re.match(r"    --hash=(sha256:[0-9a-f]{64})", line):
            hashes.add(match[1])
    return found


def lint(text: str) -> list[str]:
    """What hadolint says of a Dockerfile."""
    beside = Path(sys.executable).parent  # it comes with the tests' packages
    program = shutil.which("hadolint", path=f"{beside}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run(
        [program, "-"], input=text, capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout.splitlines()


def test_hadolint_finds_nothing() -> None:
    assert lint(TEXT) == []


def test_hadolint_would_find_something() -> None:
    assert "DL3007" in "".join(lint("FROM python:latest\nRUN cd /tmp\n"))


def test_every_image_of_the_manifests_is_built() -> None:
    overlay = yaml.safe_load((K8S / "overlays/large/kustomization.yaml").read_text("utf-8"))
    assert sorted(each["newName"].rpartition("/")[2] for each in overlay["images"]) == sorted(FINAL)


def test_what_it_stands_on_is_pinned() -> None:
    ours = set(re.findall(r" AS (\S+)$", TEXT, re.MULTILINE))
    outside = set(re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)) - ours
    assert outside
    for image in outside:
        assert re.fullmatch(r"[a-z]+:\d+\.\d+\.\d+-[a-z-]+", image), image


def test_nothing_runs_as_root_and_nothing_is_built_in_an_image() -> None:
    base = TEXT[TEXT.index(" AS base") :]
    assert re.search(r"^USER 10001:10001$", base, re.MULTILINE)
    assert "pip install" not in base
    assert "USER" not in base[base.index("ENTRYPOINT") :]


def test_packages_come_with_their_hashes_alone() -> None:
    installs = re.findall(r"install (.*)$", TEXT, re.MULTILINE)
    with_lock = [each for each in installs if ".lock" in each]
    assert len(with_lock) == len(FINAL) + 1
    assert all("--require-hashes --no-deps" in each for each in with_lock)
    rest = [each for each in installs if "/wheel/" in each]
    assert all("--no-index" in each for each in rest)


@pytest.mark.parametrize("name", sorted(file.stem for file in LOCKS.glob("*.lock")))
def test_a_lock_is_a_part_of_the_lock(name: str) -> None:
    whole, part = entries(ROOT / "requirements.lock"), entries(LOCKS / f"{name}.lock")
    assert part
    for package, hashes in part.items():
        assert whole.get(package) == hashes, f"{package} of {name}.lock: run `make lock`"


@pytest.mark.parametrize("name", sorted(FINAL))
def test_a_lock_has_all_that_its_service_wants(name: str) -> None:
    locked = {package.partition("==")[0] for package in entries(LOCKS / f"{name}.lock")}
    assert wanted(EXTRAS[name]) <= locked, "run `make lock`"


def wanted(extras: tuple[str, ...]) -> set[str]:
    """The packages that pyproject.toml names for some extras, with those that these refer to."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = list(project["dependencies"])
    for extra in extras:
        named += project["optional-dependencies"][extra]
    found: set[str] = set()
    for each in map(Requirement, named):
        if each.name == "mailwake":
            found |= wanted(tuple(each.extras))
        else:
            found.add(re.sub(r"[-_.]+", "-", each.name).lower())
    return found


@pytest.mark.docker
@pytest.mark.parametrize("target", FINAL)
def test_an_image_is_built_and_runs(target: str) -> None:
    program = shutil.which("docker")
    if program is None:
        pytest.skip("images are not built: Docker is not installed")
    asked = subprocess.run([program, "info"], capture_output=True, text=True, check=False)
    if asked.returncode:
        pytest.skip(f"images are not built: {(asked.stderr or asked.stdout).strip()[-80:]}")
    tag = f"mailwake-test/{target}"
    build = [program, "build", "-q", "-f", str(DOCKERFILE), "--target", target, "-t", tag, "."]
    subprocess.run(build, cwd=ROOT, check=True, timeout=280)
    run = [program, "run", "--rm", "--read-only", "--cap-drop", "ALL", tag, "--version"]
    assert "mailwake 0" in subprocess.run(run, capture_output=True, text=True, check=True).stdout
