"""What is mutated, and the unit tests that must notice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENRICHER = "services/enricher/mailwake_enricher"
EDGE = "services/edge/mailwake_edge"
DEDUPLICATING = ("take_hit", "_is_late", "_has_room", "is_over")


@dataclass(frozen=True)
class Module:
    """A module that is mutated.

    Attributes:
        file: its path in the repository.
        within, without: the scopes that are, and those that are not; none is all, and none.
    """

    file: str
    within: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What it is imported as."""
        path = self.file.removesuffix(".py").split("/")
        return ".".join(path[2:] if path[0] == "services" else path)

    @property
    def source(self) -> str:
        """Its text."""
        return (ROOT / self.file).read_text("utf-8")


@dataclass(frozen=True)
class Target:
    """Modules that serve one purpose, and the tests of it: the fast first."""

    name: str
    modules: tuple[Module, ...]
    tests: tuple[str, ...]


TARGETS = (
    Target(
        "tokens",
        (
            Module("mailwake/tokens.py"),
            # What the command prints is not the key ring's doing.
            Module("mailwake/keyring.py", without=("keys_command",)),
        ),
        (
            "tests/unit/test_token_format.py",
            "tests/unit/test_keyring.py",
            "tests/unit/test_tokens.py",
        ),
    ),
    Target(
        "deduplication",
        (
            Module(f"{ENRICHER}/seen.py"),
            Module(f"{ENRICHER}/decide.py", within=DEDUPLICATING),
        ),
        (
            "tests/unit/enricher/test_limits.py",
            "tests/unit/enricher/test_seen.py",
            "tests/unit/enricher/test_removals.py",
            "tests/unit/enricher/test_decide.py",
            "tests/unit/enricher/test_how_long.py",
        ),
    ),
    Target(
        "consent",
        (
            Module("mailwake/permission.py"),
            Module(
                "mailwake/register.py",
                within=(
                    "Register.preference",
                    "Register.policy",
                    "Register.consents",
                    "Register.denies",
                    "Register.toggles",
                    "Register.permission",
                    "Register.write_consents",
                    "Register._take_consent",
                    "Register._repair",
                ),
            ),
            Module(f"{EDGE}/withdrawn.py"),
            Module(f"{EDGE}/app.py", within=("Edge._kept",)),
        ),
        (
            "tests/unit/test_permission.py",
            "tests/unit/test_register.py",
            "tests/unit/edge/test_withdrawn.py",
            "tests/unit/edge/test_consent.py",
        ),
    ),
)
