"""Mailwake: tells the sender of an e-mail when it was opened and which links were clicked.

For those who send mail:

* `Tracker` instruments a mail: pixel and links; gives the send and the display to publish. It also
  restores one, to the byte.
* `Keyring`, `read_keyring`, `new_keyring`: the keys, from the file that `mailwake keys new` makes.
* `MailwakeError`: what can go wrong and can be put right, as one clear line.
* `mailwake.publish.publish` takes sends to Kafka (`pip install 'mailwake[kafka]'`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mailwake.errors import MailwakeError
    from mailwake.keyring import Keyring, new_keyring, read_keyring
    from mailwake.tokens import Token, TokenError
    from mailwake.tracker import Instrumented, InstrumentedText, Report, Tracker

__version__ = "0.1.0"

__all__ = [
    "Instrumented",
    "InstrumentedText",
    "Keyring",
    "MailwakeError",
    "Report",
    "Token",
    "TokenError",
    "Tracker",
    "new_keyring",
    "read_keyring",
]

_MODULES = {
    "Instrumented": "mailwake.tracker",
    "InstrumentedText": "mailwake.tracker",
    "Keyring": "mailwake.keyring",
    "MailwakeError": "mailwake.errors",
    "Report": "mailwake.tracker",
    "Token": "mailwake.tokens",
    "TokenError": "mailwake.tokens",
    "Tracker": "mailwake.tracker",
    "new_keyring": "mailwake.keyring",
    "read_keyring": "mailwake.keyring",
}


def __getattr__(name: str) -> Any:
    """Imports what is asked for when it is: a service that makes no mail loads none of it."""
    if name not in _MODULES:
        raise AttributeError(f"module 'mailwake' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
