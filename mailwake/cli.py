"""The command line: one list of commands, each found by name when it is called.

`mailwake` imports no service: a command names the module and function that does it, and the extra
of the package that brings what it needs. A command's function takes the arguments after its name
and gives the exit status.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from mailwake import __version__
from mailwake.errors import ConfigError, MailwakeError

INTERRUPTED = 130
"""The exit status after Ctrl-C: 128 and the signal's number, as shells count."""


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        does: `module:function`; the function takes list[str] and gives the exit status.
        extra: what brings the packages it needs, as in `pip install 'mailwake[extra]'`.
    """

    name: str
    does: str
    about: str
    extra: str = ""


COMMANDS = (
    Command("up", "mailwake_local.up:main", "run the whole system on this machine", "local"),
    Command("demo", "mailwake_local.demo:main", "one mail, opened and clicked, on it", "local"),
    Command("doctor", "mailwake_local.doctor:main", "what this machine has and lacks"),
    Command("keys", "mailwake.keyring:keys_command", "make and rotate the keys of tokens"),
    Command(
        "topics",
        "mailwake.topics_apply:topics_command",
        "create, save and load the topics in Kafka",
        "kafka",
    ),
    Command("acls", "mailwake.rights:acls_command", "who may do what in Kafka", "kafka"),
    Command("grants", "mailwake.grants:grants_command", "who may do what in ClickHouse"),
    Command("migrate", "mailwake.migrate:migrate_command", "create the tables", "clickhouse"),
    Command("analysts", "mailwake.analysts:analysts_command", "who reads ClickHouse", "clickhouse"),
    Command(
        "api-keys", "mailwake_api.commands:keys_command", "make the keys of bearer tokens", "api"
    ),
    Command("token", "mailwake_api.commands:token_command", "make a bearer token", "api"),
    Command("signin", "mailwake_api.commands:sign_in_command", "a link to the web pages", "api"),
    Command(
        "instrument", "mailwake.instrument_command:instrument_command", "a mail in, tracked out"
    ),
    Command("restore", "mailwake.instrument_command:restore_command", "a tracked mail as it was"),
    Command("size", "mailwake.sizing:size_command", "how much a platform takes, from measurements"),
    Command("settings", "mailwake.cli:settings_command", "all settings, with their defaults"),
    Command("edge", "mailwake_edge.main:main", "service: pixels and clicks to Kafka", "edge"),
    Command("enricher", "mailwake_enricher.main:main", "service: hits to events", "enricher"),
    Command("loader", "mailwake_enricher.loader_main:main", "service: to ClickHouse", "enricher"),
    Command(
        "reclassify", "mailwake_enricher.reclassify:main", "old verdicts by new rules", "enricher"
    ),
    Command("replay", "mailwake_enricher.replay:main", "hits that found no send", "enricher"),
    Command("retention", "mailwake_enricher.retention:main", "daily: before rows go", "enricher"),
    Command("notifier", "mailwake_notifier.main:main", "service: events to alerts", "notifier"),
    Command("webhooks", "mailwake_webhooks.main:main", "service: alerts to webhooks", "webhooks"),
    Command("relay", "mailwake_relay.main:main", "service: mail on its way out", "relay"),
    Command("users", "mailwake_relay.users:users_command", "who may send by the relay", "relay"),
    Command("api", "mailwake_api.main:main", "service: the HTTP API", "api"),
    Command("digest", "mailwake_api.digest.main:main", "service: a mail a day to users", "api"),
)


def usage() -> str:
    """The help text: every command with its line."""
    width = max(len(command.name) for command in COMMANDS)
    lines = [f"  {command.name:{width}}  {command.about}" for command in COMMANDS]
    return "\n".join(
        [
            "usage: mailwake COMMAND [ARGUMENTS]",
            "",
            *lines,
            "",
            "`mailwake COMMAND --help` tells more of one; start with `mailwake up`.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; gives the exit status. No error a user can cause leaves a traceback."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments.pop(0) if arguments else ""
    try:
        if name in ("help", "--help", "-h"):
            print(usage())
            return 0
        if name in ("--version", "-V", "version"):
            print(f"mailwake {__version__}")
            return 0
        if not name:
            print(usage(), file=sys.stderr)
            return ConfigError.exit_code
        return run(find(name), arguments)
    except MailwakeError as error:
        print(f"mailwake: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Who reads our output has seen enough (`mailwake settings | head`); nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def find(name: str) -> Command:
    """The command of that name. Raises ConfigError that names the nearest one."""
    by_name = {command.name: command for command in COMMANDS}
    if name in by_name:
        return by_name[name]
    near = difflib.get_close_matches(name, by_name, n=1)
    hint = f"did you mean `mailwake {near[0]}`?" if near else "`mailwake help` lists them"
    raise ConfigError(f"{name!r} is not a command; {hint}")


def run(command: Command, arguments: list[str]) -> int:
    """Imports what does the command, and calls it.

    Raises ConfigError that names the extra when a package that the command needs is not installed.
    """
    module, _, function = command.does.partition(":")
    try:
        status: int = getattr(importlib.import_module(module), function)(arguments)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if not command.extra or missing.startswith("mailwake"):
            raise  # a fault of ours
        raise ConfigError(
            f"{command.name} needs the {command.extra} parts ({missing} is missing): "
            f"pip install 'mailwake[{command.extra}]'"
        ) from None
    with contextlib.suppress(ValueError):  # closed already
        sys.stdout.flush()
    return status


def settings_command(argv: list[str]) -> int:
    """Prints docs/settings.md."""
    from mailwake.settings import settings_page

    if argv:
        raise ConfigError("mailwake settings takes no arguments")
    print(settings_page(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
