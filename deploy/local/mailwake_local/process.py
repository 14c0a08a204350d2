"""Child processes that cannot outlive their parent.

On Linux the child asks the kernel for a SIGTERM when its parent is gone (`PR_SET_PDEATHSIG`), so
that not even `kill -9` on the parent leaves anything behind. Elsewhere there is no such call and a
killed parent leaves its children.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

# Runs in the child and turns into the program. A line of Python of its own, not a preexec_fn, which
# is unsafe with threads. The parent may have died before the call; then nobody would tell.
_ASK_AND_EXEC = (
    "import ctypes, os, signal, sys\n"
    "ctypes.CDLL(None).prctl(1, signal.SIGTERM)\n"  # 1 = PR_SET_PDEATHSIG, <linux/prctl.h>
    "if os.getppid() != int(sys.argv[1]): sys.exit(1)\n"
    "os.execvp(sys.argv[2], sys.argv[2:])\n"
)


def start_bound(
    argv: Sequence[str | Path],
    *,
    stdout: IO[bytes] | int | None = None,
    stderr: IO[bytes] | int | None = None,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Starts a program in a session and process group of its own; it ends when this process ends.

    Its standard input is empty. A Ctrl-C in the terminal reaches the parent alone, which decides.

    Raises:
        OSError: the program cannot be started (not on Linux, where it then exits with status 1 and
            Python's words on its standard error).
    """
    command = [str(part) for part in argv]
    if sys.platform == "linux":
        command = [sys.executable, "-ISc", _ASK_AND_EXEC, str(os.getpid()), *command]

    started: list[subprocess.Popen[bytes]] = []
    failed: list[OSError] = []
    ready = threading.Event()

    def keep() -> None:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=env,
                pass_fds=pass_fds,
                start_new_session=True,
            )
        except OSError as error:
            failed.append(error)
            return
        else:
            started.append(process)
        finally:
            ready.set()
        process.wait()

    # The kernel takes the thread that forked for the parent, so that one must live as long as the
    # child: the caller's may be a worker thread that ends any moment.
    threading.Thread(target=keep, name=f"keeps {command[-1]}", daemon=True).start()
    ready.wait()
    if failed:
        raise failed[0]
    return started[0]


def is_alive(pid: str) -> bool:
    """Whether a process has this id, written as a decimal; what is no number is no process."""
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return True
