"""The reject topics: what cannot be read is kept byte for byte, with the reason in its headers."""

from __future__ import annotations

from mailwake.contracts import InvalidError

Headers = list[tuple[str, bytes]]


def reject_headers(error: InvalidError, topic: str, partition: int, offset: int) -> Headers:
    """The headers of a record in `<topic>.rejected` (schemas/topics/*.rejected.yaml)."""
    return [
        ("mailwake-reason", error.reason.encode()),
        ("mailwake-error", " ".join(str(error).split())[:500].encode()),
        ("mailwake-source", f"{topic}/{partition}/{offset}".encode()),
    ]
