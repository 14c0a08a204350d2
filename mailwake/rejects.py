"""The reject topics: what cannot be read is kept byte for byte, with the reason in its headers."""

from __future__ import annotations

from mailwake.codec import InvalidError

Headers = list[tuple[str, bytes]]

MAX_REJECT_BYTES = 1_000_000
"""A value that is longer is cut: with its headers it must fit into a Kafka record (1 MiB)."""


def reject(
    data: bytes, error: InvalidError, topic: str, partition: int, offset: int
) -> tuple[bytes, Headers]:
    """The value and headers of a record in `<topic>.rejected` (schemas/topics/*.rejected.yaml).

    `topic` is the name without the installation's prefix, with partition and offset where the value
    was read. A value that is too long is cut, and the headers say so.
    """
    if len(data) > MAX_REJECT_BYTES:
        text = f"{len(data)} bytes, of which the first {MAX_REJECT_BYTES} stand here: {error}"
        data, error = data[:MAX_REJECT_BYTES], InvalidError("too_large", text)
    return data, [
        ("mailwake-reason", error.reason.encode()),
        ("mailwake-error", " ".join(str(error).split())[:500].encode()),
        ("mailwake-source", f"{topic}/{partition}/{offset}".encode()),
    ]
