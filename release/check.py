"""`make release-check`: what is built can be released.

The wheel and the sdist are built into dist/, the wheel is installed into an empty environment with
what it needs and nothing else, and from a folder without the repository it must do what its users
begin with. Version, changelog and package must agree.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
MAIL = ROOT / "tests" / "corpus" / "newsletter.eml"


class FaultError(Exception):
    """What stands against a release, in a line."""


def version() -> str:
    """The version that pyproject.toml says."""
    described = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return str(described["project"]["version"])


def check_changelog(text: str, version: str) -> None:
    """The changelog's newest heading is this version, with a date; or `Unreleased`, and no heading
    is this version or a later one. Raises FaultError."""
    headings = re.findall(r"(?m)^## (.+)$", text)
    if not headings:
        raise FaultError("CHANGELOG.md has no heading `## …`")
    said = [heading.partition(" ")[0].strip("[]") for heading in headings]
    for heading, name in zip(headings, said, strict=True):
        if name != "Unreleased" and not re.fullmatch(
            r"\d+\.\d+\.\d+ (– |- |\()?\d{4}-\d\d-\d\d\)?",
            heading.replace("[", "").replace("]", ""),
        ):
            raise FaultError(f"CHANGELOG.md: `## {heading}` is no version with its date")
    released = [name for name in said if name != "Unreleased"]
    if said[0] == "Unreleased":
        if released and _number(released[0]) > _number(version):
            raise FaultError(f"CHANGELOG.md tells of {released[0]}; pyproject.toml says {version}")
    elif said[0] != version:
        raise FaultError(f"CHANGELOG.md begins with {said[0]}; pyproject.toml says {version}")


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def check_wheel(wheel: Path) -> None:
    """Schemas, rules and pages travel in the wheel, and no top-level name but ours. Raises
    FaultError."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    missing = [name for name in _wanted() if name not in names]
    if missing:
        raise FaultError(f"{wheel.name} lacks {', '.join(missing)}")
    strange = {name for name in names if not name.startswith("mailwake")}
    if strange:
        raise FaultError(f"{wheel.name} has {', '.join(sorted(strange))}")


def _wanted() -> list[str]:
    schemas = [file for file in (ROOT / "schemas").rglob("*") if file.is_file()]
    rules = (ROOT / "services/enricher/mailwake_enricher").rglob("*.toml")
    found = [f"mailwake/{file.relative_to(ROOT)}" for file in schemas]
    found += [str(file.relative_to(ROOT / "services/enricher")) for file in rules]
    assert len(found) > len(schemas), "no rules were found"
    return found


def check_sdist(sdist: Path) -> None:
    """The sdist holds what the wheel is built from. Raises FaultError."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    missing = {"pyproject.toml", "README.md", "CHANGELOG.md", "schemas/README.md"} - names
    if missing:
        raise FaultError(f"{sdist.name} lacks {', '.join(sorted(missing))}")


def install(wheel: Path, folder: Path, extras: str = "") -> Path:
    """An empty environment with the wheel and what it needs; gives its bin folder."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    lock = ["-c", str(_constraints(folder))]
    wanted = f"{wheel}{extras}"
    command = [
        str(python),
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        *lock,
        wanted,
    ]
    subprocess.run(command, check=True, cwd=folder)
    return folder / "bin"


def _constraints(folder: Path) -> Path:
    """The versions of requirements.lock, without hashes: pip takes none for a wheel of ours."""
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    pinned = [line.split(" ")[0] for line in lines if re.match(r"[A-Za-z0-9]", line)]
    path = folder / "constraints.txt"
    path.write_text("\n".join(pinned) + "\n")
    return path


def smoke(bin_folder: Path, version: str) -> None:
    """What users begin with works without the repository. Raises FaultError."""

    def run(*words: str, given: bytes = b"") -> bytes:
        done = subprocess.run(
            [bin_folder / "mailwake", *words],
            input=given,
            capture_output=True,
            cwd=bin_folder.parent,
            check=False,
            env={"PATH": str(bin_folder), "LC_ALL": "C.UTF-8"},
        )
        if done.returncode:
            told = done.stderr.decode(errors="replace").strip()
            raise FaultError(f"`mailwake {' '.join(words)}` ended with {done.returncode}: {told}")
        return done.stdout

    if run("--version").decode().strip() != f"mailwake {version}":
        raise FaultError(f"`mailwake --version` does not say {version}")
    if run("settings") != (ROOT / "docs" / "settings.md").read_bytes():
        raise FaultError("`mailwake settings` prints another page than docs/settings.md")
    run("keys", "new", "mailwake-keys.json")
    mail = MAIL.read_bytes()
    tracked = run("instrument", "--tenant", "acme", "--user", "ben", given=mail)
    if b"/o/" not in tracked or run("restore", given=tracked) != mail:
        raise FaultError("a mail was not tracked, or not given back as it was")
    run("grants", "render")


def main() -> int:
    """Checks all of it; gives the exit status."""
    try:
        check_changelog((ROOT / "CHANGELOG.md").read_text("utf-8"), version())
        for old in [*DIST.glob("mailwake-*.whl"), *DIST.glob("mailwake-*.tar.gz")]:
            old.unlink()
        build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(DIST), str(ROOT)]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        (wheel,) = DIST.glob(f"mailwake-{version()}-*.whl")
        check_wheel(wheel)
        check_sdist(DIST / f"mailwake-{version()}.tar.gz")
        with tempfile.TemporaryDirectory() as folder:
            smoke(install(wheel, Path(folder)), version())
    except FaultError as fault:
        print(f"not to be released: {fault}", file=sys.stderr)
        return 1
    print(f"mailwake {version()} can be released: {wheel.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
