"""Thrift's compact protocol, as far as a Parquet footer needs it: where the fields of a struct stand.

See doc/specs/thrift-compact-protocol.md of github.com/apache/thrift.
"""

from __future__ import annotations

from typing import Any

BYTE, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 3, 7, 8, 9, 10, 11, 12
"""Types; those before `BYTE` are the two booleans, those between it and `DOUBLE` integers."""

SIZES = {1: 0, 2: 0, BYTE: 1, DOUBLE: 8}
"""Bytes of a value; those of a boolean field are its head. Another type is a damaged one."""

Wanted = dict[int, Any]
"""Number of a field -> what its integer is called, or the `Wanted` of its struct, or of the structs of its list."""
Integer = tuple[int, int, int, Any]
"""Where it starts and stops, its value, and what it is called."""


def field(data: bytes, at: int, before: int) -> tuple[int, int, int]:
    """Number and type of a field, and where its value starts; `before` is the number of the field before it."""
    head = data[at]
    if head > 15:
        return before + (head >> 4), head & 15, at + 1
    value, at = _unsigned(data, at + 1)
    return _signed(value), head & 15, at


def integers(data: bytes, at: int, wanted: Wanted, found: list[Integer]) -> int:
    """Collects the integers of a struct that are wanted; where the struct stops."""
    number = 0
    while head := data[at]:
        if head > 15:  # `field`, without a call
            number, kind, at = number + (head >> 4), head & 15, at + 1
        else:
            number, kind, at = field(data, at, number)
        asked = wanted.get(number)
        if asked is None:
            at = skip(data, at, kind)
        elif not isinstance(asked, dict):
            value, stop = _unsigned(data, at)
            found.append((at, stop, _signed(value), asked))
            at = stop
        elif kind == STRUCT:
            at = integers(data, at, asked, found)
        else:
            count, _, at = elements(data, at)
            for _ in range(count):
                at = integers(data, at, asked, found)
    return at + 1


def elements(data: bytes, at: int) -> tuple[int, int, int]:
    """Number and type of the elements of a list, and where the first one starts."""
    head = data[at]
    if head >> 4 < 15:
        return head >> 4, head & 15, at + 1
    count, at = _unsigned(data, at + 1)
    return count, head & 15, at


def skip(data: bytes, at: int, kind: int) -> int:
    """Where a value of some type stops."""
    if BYTE < kind < DOUBLE:
        while data[at] > 127:
            at += 1
        return at + 1
    if kind == BINARY:
        size, at = (data[at], at + 1) if data[at] < 128 else _unsigned(data, at)
        return at + size
    if kind == STRUCT:
        while head := data[at]:
            kind, at = head & 15, at + 1 if head > 15 else _unsigned(data, at + 1)[1]
            if BYTE < kind < DOUBLE:  # as above, without a call: most of a footer are integers
                while data[at] > 127:
                    at += 1
                at += 1
            else:
                at = skip(data, at, kind)
        return at + 1
    if kind in (LIST, SET):
        count, kind, at = elements(data, at)
        if kind < BYTE:  # booleans are a byte each here
            return at + count
        for _ in range(count):
            at = skip(data, at, kind)
        return at
    if kind == MAP:
        count, at = _unsigned(data, at)
        kinds, at = (data[at], at + 1) if count else (0, at)
        for _ in range(count):
            for kind in (kinds >> 4, kinds & 15):
                at = at + 1 if kind < BYTE else skip(data, at, kind)
        return at
    return at + SIZES[kind]


def integer(value: int) -> bytes:
    """An integer of at most 64 bits as it is written."""
    return _varint(value << 1 ^ value >> 63)


def list_head(count: int, kind: int) -> bytes:
    """What stands before the elements of a list."""
    return bytes([count << 4 | kind]) if count < 15 else bytes([0xF0 | kind]) + _varint(count)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


def _signed(value: int) -> int:
    return (value >> 1) ^ -(value & 1)


def _unsigned(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while (byte := data[at]) > 127:
        value |= (byte & 127) << shift
        shift += 7
        at += 1
    return value | byte << shift, at + 1
