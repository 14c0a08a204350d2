"""Reads and checks values by the thousand, at a third of what checking each costs.

A contract's constraints (patterns, bounds, choices) cost more than the rest of reading it: an event
takes 5.7 µs with them and 1.2 µs without. So a batch is read into a twin of the contract that has
the types alone, and then each field is checked over all values at once: of ids the joined text,
of choices the set, of numbers the least and the greatest. What is let through is exactly what the
contract lets through (a test holds the two together); when anything is not, the contract itself
says which value it is and why.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, Generic

import msgspec
from msgspec import inspect

from mailwake.codec import Codec, InvalidError, T
from mailwake.contracts import Id

Check = Callable[[Sequence[Any]], bool]
"""Whether all cells, which are not empty as a whole, keep a field's constraints."""

_ID = inspect.type_info(Id)
_HEX = b"0123456789abcdef"


class Screen(Generic[T]):
    """Reads the records of one batched contract, and checks what it read. Thread-safe."""

    def __init__(self, contract: type[T], codec: Codec[T]) -> None:
        described = inspect.type_info(contract)
        assert isinstance(described, inspect.StructType)  # noqa: S101
        twin = _twin(contract, described)
        self.codec = codec
        self._one = msgspec.json.Decoder(twin)
        self._many = msgspec.json.Decoder(list[twin])  # type: ignore[valid-type]
        self._checks: list[tuple[str, bool, Check]] = []
        for field in described.fields:
            check, nullable = _check_of(field.type)
            if check:
                self._checks.append((field.name, nullable, check))

    def read(self, data: bytes) -> tuple[list[T], list[tuple[bytes, InvalidError]]]:
        """As `Codec.read`, but the values are unchecked: give them to `holds`."""
        try:
            if data[:1] == b"[":
                return self._many.decode(data), []
            return [self._one.decode(data)], []
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return self.codec.read(data)

    def holds(self, values: Sequence[T], columns: Mapping[str, Sequence[Any]]) -> bool:
        """Whether every value keeps the contract.

        `columns` are fields that were taken out of the values before, by name; of fields that may
        be None they are not used, since there None may have become something else.
        """
        if not values:
            return True
        for name, nullable, check in self._checks:
            if nullable:
                cells: Sequence[Any] = [
                    cell for cell in map(attrgetter(name), values) if cell is not None
                ]
            else:
                cells = columns.get(name) or list(map(attrgetter(name), values))
            if cells and not check(cells):
                return False
        return True


def _twin(contract: type[T], described: inspect.StructType) -> type[T]:
    """The contract without its constraints; what it checks across fields stays."""
    fields: list[Any] = []
    for field in described.fields:
        plain = _plain(field.type)
        if field.required:
            fields.append((field.name, plain))
        elif field.default_factory is not msgspec.NODEFAULT:
            factory = msgspec.field(default_factory=field.default_factory)
            fields.append((field.name, plain, factory))
        else:
            fields.append((field.name, plain, field.default))
    across = getattr(contract, "__post_init__", None)
    twin: type[Any] = msgspec.defstruct(
        contract.__name__,
        fields,
        namespace={"__post_init__": across} if across else {},
        omit_defaults=True,
        gc=False,
    )
    return twin


def _plain(info: inspect.Type) -> Any:
    match info:
        case inspect.StrType():
            return str
        case inspect.IntType():
            return int
        case inspect.BoolType():
            return bool
        case inspect.LiteralType():
            return type(info.values[0])
        case inspect.ListType():
            return list[_plain(info.item_type)]  # type: ignore[misc]
        case inspect.UnionType():
            return _plain(_present(info)) | None
    raise TypeError(f"no twin for {info}")


def _present(info: inspect.UnionType) -> inspect.Type:
    (present,) = (kind for kind in info.types if not isinstance(kind, inspect.NoneType))
    return present


def _check_of(info: inspect.Type) -> tuple[Check | None, bool]:
    """The check of a field's type, None when any value of the plain type will do; whether the
    field may be None."""
    if isinstance(info, inspect.UnionType):
        return _check_of(_present(info))[0], True
    checks: list[Check] = []
    match info:
        case inspect.StrType() if info == _ID:
            checks.append(_are_ids)
        case inspect.StrType():
            checks += _text_checks(info)
        case inspect.IntType():
            checks += _number_checks(info)
        case inspect.LiteralType():
            choices = frozenset(info.values)
            checks.append(lambda cells: choices.issuperset(cells))
        case inspect.ListType():
            item, _ = _check_of(info.item_type)
            if item:
                checks.append(_of_items(item))
    if not checks:
        return None, False
    return (lambda cells: all(check(cells) for check in checks)), False


def _are_ids(cells: Sequence[str]) -> bool:
    joined = "".join(cells)
    return (
        len(joined) == 32 * len(cells)
        and set(map(len, cells)) == {32}
        and joined.isascii()
        and not joined.encode().translate(None, _HEX)
    )


def _text_checks(info: inspect.StrType) -> Iterable[Check]:
    if info.pattern is not None:
        found = re.compile(info.pattern).search
        yield lambda cells: all(map(found, set(cells)))
    most, least = info.max_length, info.min_length
    if most is not None:
        yield lambda cells: max(map(len, cells)) <= most
    if least is not None:
        yield lambda cells: min(map(len, cells)) >= least


def _number_checks(info: inspect.IntType) -> Iterable[Check]:
    least = info.ge if info.gt is None else info.gt + 1
    most = info.le if info.lt is None else info.lt - 1
    if least is not None:
        yield lambda cells: min(cells) >= least
    if most is not None:
        yield lambda cells: max(cells) <= most


def _of_items(check: Check) -> Check:
    def holds(cells: Sequence[Any]) -> bool:
        items = list(chain.from_iterable(cells))
        return not items or check(items)

    return holds
