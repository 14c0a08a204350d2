"""The release after this one, as an upgrade meets it: a copy of the code whose contracts, tables
and topics have grown as schemas/README.md lets them grow within a version.

It is made of the tree that is tested, so that it is there in any checkout, needs no history, and is
always one release ahead.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSION = "99.0.0"
WRITTEN = f'"release":"{VERSION}"'.encode()
"""What stands in each value of a contract that has grown, when the next release wrote it."""

GROWN = ("Send", "Display", "Hit", "Event", "Alert", "Preference", "Policy", "Digest")
TABLES = ("sends", "hits", "events")
TOPIC = "novelties"


def make_next_version(folder: Path) -> Path:
    """Makes it in a folder that is not there yet; what to name in PYTHONPATH to run it.

    The grown contracts have a field `release`, which it always writes; so has a track, at its end.
    A migration adds the column `release`, which its loader fills, and there is one more topic.
    """
    leave = shutil.ignore_patterns("__pycache__")
    for package in (ROOT / "mailwake", *ROOT.glob("services/*/mailwake_*")):
        shutil.copytree(package, folder / package.name, ignore=leave)
    schemas = shutil.copytree(ROOT / "schemas", folder / "schemas")
    code = folder / "mailwake"
    _edit(code / "__init__.py", r'(__version__ = ")[^"]*', rf"\g<1>{VERSION}")
    _edit(code / "contracts.py", r"(from msgspec import Meta, Struct)", r"\1, field")
    for name in GROWN:
        new = f'    release: str = field(default_factory=lambda: "{VERSION}")\n'
        _edit(code / "contracts.py", rf"(class {name}\(.*?\n    v: Version = 1\n)", rf"\g<1>{new}")
    new = f'    release: str = "{VERSION}"\n'
    _edit(code / "track.py", r"(class Track\(.*?\n)(?=\n\nclass )", rf"\g<1>{new}")
    for name in TABLES:
        pattern = rf"(def {name[:-1]}_columns\(.*?_same\(\s*{name},)"
        _edit(folder / "mailwake_enricher" / "rows.py", pattern, r'\1 "release",')
    number = len(list((schemas / "clickhouse").glob("*.sql"))) + 1
    (schemas / "clickhouse" / f"{number:04d}_release.sql").write_text(
        "".join(
            f"ALTER TABLE {name} ADD COLUMN IF NOT EXISTS release LowCardinality(String)"
            " COMMENT 'The release whose loader wrote it';\n"
            for name in TABLES
        )
    )
    topic = (schemas / "topics" / "mutes.yaml").read_text()
    (schemas / "topics" / f"{TOPIC}.yaml").write_text(topic.replace("mutes", TOPIC))
    return folder


def _edit(file: Path, pattern: str, new: str) -> None:
    """Changes a file in the one place that a pattern finds."""
    text, count = re.subn(pattern, new, file.read_text("utf-8"), flags=re.S)
    assert count == 1, f"{file.name}: {pattern} is found {count} times; see {__file__}"
    file.write_text(text, "utf-8")
