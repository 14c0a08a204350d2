"""The folder of one local installation."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mailwake.errors import UnavailableError
from mailwake_local.home import Home


def test_secrets_are_made_once_and_are_their_owners_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    os.close(home.take())
    password = home.password()
    assert len(password) >= 32
    assert Home(tmp_path / "home").password() == password
    assert home.password_file.stat().st_mode & 0o777 == 0o600
    assert home.folder.stat().st_mode & 0o777 == 0o700


def test_what_runs_is_known_as_long_as_it_lives(tmp_path: Path) -> None:
    home = Home(tmp_path)
    lock = home.take()
    assert home.running() is None
    home.say_running({"KAFKA_BOOTSTRAP": "127.0.0.1:1"}, {"edge": "127.0.0.1:2"})
    told = home.running()
    assert told == {
        "process": os.getpid(),
        "settings": {"KAFKA_BOOTSTRAP": "127.0.0.1:1"},
        "services": {"edge": "127.0.0.1:2"},
    }
    run = tmp_path / "run.json"
    assert run.stat().st_mode & 0o777 == 0o600
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    run.write_text(run.read_text().replace(str(os.getpid()), str(gone.pid)))
    assert home.running() is None
    run.write_text("{")
    assert home.running() is None
    os.close(lock)


def test_a_folder_is_one_processs_at_a_time(tmp_path: Path) -> None:
    lock = Home(tmp_path).take()
    with pytest.raises(UnavailableError, match=f"process {os.getpid()}"):
        Home(tmp_path).take()
    os.close(lock)
    os.close(Home(tmp_path).take())


def test_children_of_one_that_is_gone_are_waited_for(tmp_path: Path) -> None:
    # Takes the folder, leaves a child that holds the lock for a while, and ends at once.
    code = (
        "import os, pathlib, subprocess, sys\n"
        "from mailwake_local.home import Home\n"
        f"lock = Home(pathlib.Path({str(tmp_path)!r})).take()\n"
        "child = [sys.executable, '-c', 'import time; time.sleep(1)']\n"
        "subprocess.Popen(child, pass_fds=[lock], stdout=subprocess.DEVNULL)\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(UnavailableError, match="runs already"):
        Home(tmp_path).take(deadline_s=0)
    os.close(Home(tmp_path).take(deadline_s=30))
