"""Where the contracts' files stand: `schemas/` of the repository, or its copy in the wheel."""

from __future__ import annotations

from pathlib import Path

from mailwake.errors import ConfigError


def schemas_root() -> Path:
    """The folder that holds topics/, json/, examples/ and clickhouse/. Raises ConfigError."""
    package = Path(__file__).parent
    for folder in (package / "schemas", package.parent / "schemas"):
        if (folder / "topics").is_dir():
            return folder
    raise ConfigError(
        f"The folder schemas/ is missing beside {package}: the installation is incomplete; "
        "install mailwake again"
    )
