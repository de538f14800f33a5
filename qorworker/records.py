"""What a child says to its parent: framed records, one list a message. Pure; used on both sides of the pipe.

    ["log", job, time, level, text]                     a line of the log
    ["progress", job, per cent or null, text or null]   null leaves it as it is
    ["row", job, [[value, error], …]]                   a row of the results
    ["return", job, text]                               a part of what the job returned, as JSON
    ["secrets", job, [text, …]]                         texts to mask from now on
    ["end", job, {…}]                                   how the attempt ended; nothing of it comes after that
    ["left", job]                                       the child goes now and starts nothing more

A message that is not of this shape is refused: the child runs other people's code.
"""

from __future__ import annotations

import json
import struct
from typing import Any

from qorworker.secrets import MASK

Record = list[Any]

TRACEBACK_CHARS = 16_000
ERROR_CHARS = 2_000
RETURN_CHARS = 1024 * 1024  # of what a job returned, as JSON
FRAME = struct.Struct(">I")


class BadRecord(ValueError):
    """A message that is not a list of records."""


_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode(records: list[Record]) -> bytes:
    return _to_json(records).encode("utf-8", "backslashreplace")


def decode(message: bytes) -> list[Record]:
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
        case ["end", int(), dict(told)]:  # the most frequent one first
            return isinstance(told.get("outcome"), str)
        case ["log", int(), int() | float(), int(), str()]:
            return True
        case ["progress", int(), int() | None, str() | None]:
            return True
        case ["row", int(), list(cells)]:
            return all(isinstance(cell, list) and len(cell) == 2 and isinstance(cell[1], str) for cell in cells)
        case ["return", int(), str()]:
            return True
        case ["secrets", int(), list(texts)]:
            return all(isinstance(text, str) for text in texts)
        case ["left", int()]:
            return True
    return False


def frame(payload: bytes) -> bytes:
    """A payload with its length in front, for the stream from the parent to a child."""
    return FRAME.pack(len(payload)) + payload


def clean_text(text: str, limit: int) -> str:
    """Text as every database can store it: no NUL, no lone surrogates, not longer than *limit* characters."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if "\0" in text:
        text = text.replace("\0", "\N{SYMBOL FOR NULL}")
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def mask(text: str, secrets: list[str]) -> str:
    """The text with every one of these secrets blotted out."""
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, MASK)
    return text


def mask_json(text: str, secrets: list[str]) -> str:
    """``mask`` for the texts inside of JSON, so that it stays JSON."""
    return _to_json(_masked(json.loads(text), secrets)) if secrets else text


def _masked(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, str):
        return mask(value, secrets)
    if isinstance(value, list):
        return [_masked(item, secrets) for item in value]
    if isinstance(value, dict):
        return {mask(key, secrets): _masked(item, secrets) for key, item in value.items()}
    return value
