"""A command of ours, run to its end as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

from mailwake.errors import MailwakeError


def command(*arguments: str, told: str = "", environ: Mapping[str, str] | None = None) -> str:
    """Runs `mailwake` with arguments, tells it a line on its standard input, and gives what it
    says. `environ` is set above the environment of this process.

    Raises MailwakeError with its error.
    """
    # -P: a file in the folder it is called in must not stand in for a module.
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mailwake.cli", *arguments],
        input=told + "\n", capture_output=True, text=True, env=environ and os.environ | environ,
    )  # fmt: skip
    if done.returncode:
        raise MailwakeError(f"mailwake {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout
