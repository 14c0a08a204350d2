"""JSON to typed, checked values and back: one codec for every contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Literal, TypeVar

import msgspec
from msgspec import Struct


class InvalidError(ValueError):
    """A value does not keep its contract. It goes to the reject topic; the rest goes on.

    Attributes:
        reason: a code of `RejectReason`.
    """

    def __init__(self, reason: RejectReason, text: str) -> None:
        super().__init__(text)
        self.reason: RejectReason = reason


RejectReason = Literal["not_json", "contract", "wrong_partition", "tenant_mismatch", "too_large"]
"""Why a value stands in a `.rejected` topic (its header `mailwake-reason`)."""


T = TypeVar("T", bound=Struct)


class Codec(Generic[T]):
    """Encodes and decodes one contract. Thread-safe.

    `read` takes what a record may hold, one object or an array of objects, and gives the good
    values beside the bad ones, so that one bad hit does not cost its ninety-nine neighbours.
    """

    def __init__(self, contract: type[T]) -> None:
        self._one = msgspec.json.Decoder(contract)
        self._many = msgspec.json.Decoder(list[contract])  # type: ignore[valid-type]
        self._raw = msgspec.json.Decoder(list[msgspec.Raw])
        self._encoder = msgspec.json.Encoder()

    def encode(self, value: T) -> bytes:
        """One value as JSON."""
        return self._encoder.encode(value)

    def encode_many(self, values: Sequence[T]) -> bytes:
        """Values as a JSON array."""
        return self._encoder.encode(values)

    def decode(self, data: bytes) -> T:
        """One value. Raises InvalidError."""
        try:
            return self._one.decode(data)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise _invalid(error) from None

    def read(self, data: bytes) -> tuple[list[T], list[tuple[bytes, InvalidError]]]:
        """The values of a record, and the parts that are none with what is wrong with each.

        Never raises: a record that cannot be read at all comes back whole as one bad part.
        """
        many = data.lstrip()[:1] == b"["
        try:
            return (self._many.decode(data) if many else [self._one.decode(data)]), []
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            if not many:
                return [], [(data, _invalid(error))]
        try:
            parts = self._raw.decode(data)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            return [], [(data, _invalid(error))]
        good: list[T] = []
        bad: list[tuple[bytes, InvalidError]] = []
        for part in parts:
            try:
                good.append(self.decode(bytes(part)))
            except InvalidError as error:
                bad.append((bytes(part), error))
        return good, bad


def _invalid(error: Exception) -> InvalidError:
    if isinstance(error, msgspec.ValidationError):
        return InvalidError("contract", str(error))
    return InvalidError("not_json", str(error))
