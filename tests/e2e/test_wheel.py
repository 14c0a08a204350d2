"""The wheel works without the repository: what `pip install mailwake[local]` gives."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.running import without_settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("mailwake-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that has the wheel, and the dependencies of this one.

    This environment's packages are put on its path without reading their .pth files, so that the
    checkout itself (an editable install) is not among them.
    """
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", wheel],
        check=True,
    )
    (site_packages,) = folder.glob("lib/python*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def test_no_top_level_name_but_ours(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert all(top.startswith("mailwake") for top in tops), tops


def test_the_schemas_travel_with_it(installed: Path, tmp_path: Path) -> None:
    code = (
        "import mailwake.schemas as s, mailwake.topics as t; "
        "assert 'installed' in str(s.schemas_root()), s.schemas_root(); print(len(t.registry()))"
    )
    answer = subprocess.run(
        [installed / "python", "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert int(answer.stdout) == len(list((ROOT / "schemas" / "topics").glob("*.yaml")))


def test_the_pages_travel_with_it(wheel: Path) -> None:
    web = ROOT / "services" / "api" / "mailwake_api" / "web"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for folder in ("templates", "static"):
        for file in (web / folder).iterdir():
            assert f"mailwake_api/web/{folder}/{file.name}" in names


def test_up_and_demo(installed: Path, tmp_path: Path) -> None:
    environ = without_settings() | {"MAILWAKE_HOME": str(tmp_path / "home"), "PYTHONPATH": ""}
    with subprocess.Popen(
        [installed / "mailwake", "up", "--any-ports"],
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as up:
        try:
            assert up.stdout is not None
            printed = []
            for line in up.stdout:
                printed.append(line)
                if "mailwake demo" in line:
                    break
            assert up.poll() is None, "".join(printed)
            demo = subprocess.run(
                [installed / "mailwake", "demo"],
                cwd=tmp_path,
                env=environ,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert demo.returncode == 0, demo.stdout + demo.stderr
        finally:
            up.terminate()
            up.communicate(timeout=60)
    assert up.returncode == 0
