"""Files that hold secrets: written whole or not at all, for their owner alone to read."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from mailwake.errors import ConfigError


def write_secret_file(path: Path, data: bytes, *, what: str, instead: str | None) -> None:
    """Writes a file, mode 0600; a symbolic link stays and what it points to is written.

    `what` names the file in an error. With `instead` a file that stands there already is not
    overwritten, and the error says to do that instead. Raises ConfigError.
    """
    path = path.resolve()
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:  # mkstemp makes it 0600
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if instead is None:
                Path(temporary).replace(path)
            else:
                os.link(temporary, path)  # refuses where something stands
        finally:
            Path(temporary).unlink(missing_ok=True)
    except FileExistsError:
        raise ConfigError(
            f"{path}: a file stands here already and is not overwritten; {instead}"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot write the {what}: {error.strerror}") from None


def read_secret(path: Path, *, what: str) -> str:
    """The first line of a file: a password. `what` names it in an error. Raises ConfigError."""
    try:
        line = path.read_text("utf-8").partition("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise ConfigError(f"{path}: cannot read the {what}: {why}") from None
    if not line:
        raise ConfigError(f"{path}: its first line must be the {what}, but is empty")
    return line
