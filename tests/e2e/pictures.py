"""Makes docs/pictures of the running system, as a browser shows it: `make pictures`.

It starts `mailwake up --demo` with a data folder of its own, signs in as the demonstration's sender
and looks at some pages. Pictures differ from run to run, as the mails are of today; look at them
before they are committed.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.chromium import Chromium
from tests.e2e.test_mailbox import System, sign_in

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
RINGS_S = 30.0
"""The demonstration's readers have read, and the last of them has rung, by then."""
SETTLES_S = 1.0
"""Charts and icons have come to rest then."""


def main() -> int:
    """Writes the pictures; gives the exit status."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        system = System(Path(folder) / "home")
        try:
            with Chromium(Path(folder) / "profile") as browser:
                _take(system, browser)
        finally:
            system.up.end(signal.SIGTERM)
    for file in sorted(FOLDER.glob("*.png")):
        print(f"{file.name:16} {file.stat().st_size:>9,} bytes")
    return 0


def _take(system: System, browser: Chromium) -> None:
    page = browser.page()
    page.looks(1100, 720)
    sign_in(page, system.link)
    time.sleep(RINGS_S)
    page.open(f"{system.url}/mail")

    def keep(name: str) -> None:
        time.sleep(SETTLES_S)
        (FOLDER / f"{name}.png").write_bytes(page.view())

    keep("mailbox")
    page.open(f"{system.url}/bell")
    keep("bell")
    page.open(f"{system.url}/mail?opened=true&clicked=true")
    message = page.ask("document.querySelector('a[href^=\"/mail/\"]').getAttribute('href')")
    page.open(f"{system.url}{message}")
    keep("message")
    page.open(f"{system.url}/reports")
    keep("reports")
    page.looks(390, 780, "dark")
    page.open(f"{system.url}/mail")
    keep("phone-dark")


if __name__ == "__main__":
    sys.exit(main())
