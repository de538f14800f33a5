"""The messages of a child to its parent: lists of records. Pure; used on both sides of the channel.

    ["log", n, time, level, text]                     a line of the log
    ["progress", n, per cent or null, text or null]   null leaves it as it is
    ["row", n, [[value, error], …]]                   a row of the results
    ["return", n, text]                               a part of what the job returned, as JSON
    ["end", n, {…}]                                   how the attempt ended; its last record
    ["left", n]                                       the child exits now and starts no more attempts
    ["leaving", n]                                    the child starts no attempt after this one, which may still run

``n`` is the number of the attempt among those that the child was given, so that a record of an earlier attempt is never
taken for a later one's, even of the same job. A record that stays in its process has the job's id there. Messages of
any other shape are refused: the child runs other people's code.
"""

from __future__ import annotations

import json
import struct
from typing import Any, NamedTuple

Record = list[Any]

TRACEBACK_CHARS = 16_000
ERROR_CHARS = 2_000
EXCEPTION_CLASS_CHARS = 200
RETURN_CHARS = 1024 * 1024  # of a job's return value, as JSON
FRAME = struct.Struct(">I")


class BadRecord(ValueError):
    """A message that is not a list of records."""


_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode(records: list[Record]) -> bytes:
    """Return records as one message."""
    return _to_json(records).encode("utf-8", "backslashreplace")


def decode(message: bytes) -> list[Record]:
    """Return the records of a message. Raises ``BadRecord`` for anything else."""
    try:
        records = _from_json(message.decode())
    except (ValueError, RecursionError) as error:
        raise BadRecord(str(error)) from error
    if not isinstance(records, list) or not all(map(_fits, records)):
        raise BadRecord("not a list of records")
    return records


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


_from_json = json.JSONDecoder(parse_constant=_refuse).decode


def _fits(record: Any) -> bool:
    match record:
        case ["end", int(), dict(ending)]:  # the most frequent record first
            return isinstance(ending.get("outcome"), str)
        case ["log", int(), int() | float(), int(), str()]:
            return True
        case ["progress", int(), int() | None, str() | None]:
            return True
        case ["row", int(), list(cells)]:
            return all(isinstance(cell, list) and len(cell) == 2 and isinstance(cell[1], str) for cell in cells)
        case ["return", int(), str()]:
            return True
        case ["left" | "leaving", int()]:
            return True
    return False


def frame(payload: bytes) -> bytes:
    """Return a payload with its length in front, for the stream from the parent to a child."""
    return FRAME.pack(len(payload)) + payload


def clean_text(text: str, limit: int) -> str:
    """Return text as every database stores it: without NUL and lone surrogates, up to *limit* characters."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if "\0" in text:
        text = text.replace("\0", "\N{SYMBOL FOR NULL}")
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class Work(NamedTuple):
    """An attempt to run."""

    id: int
    name: str
    arguments: str  # JSON text, as stored
    attempt: int
    max_attempts: int
    token: str
    database: str = "default"
    created_by: str | None = None  # the user who started it, empty for code; None without a check of rights
