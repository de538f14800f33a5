"""The messages of a child to its parent: lists of records. Pure; used on both sides of the channel.

    ["log", n, time, level, text]                     a line of the log
    ["progress", n, per cent or null, text or null]   null leaves it as it is
    ["columns", n, [title, …]]                        the titles of the results columns
    ["row", n, [[value, error], …]]                   a row of the results
    ["row", n, [[value, error], …], key]              a row that can be repeated by its key
    ["row", n, [[value, error, token], …]]            the same with a link from a cell to a file
    ["file", n, time, {…}]                            a file that is in the storage, as ``files.keep`` returned it
    ["return", n, text]                               a part of what the job returned, as JSON
    ["rehearsal", n, text]                            a part of what a rehearsal has found, as JSON
    ["checkpoint", n, text]                           where another attempt goes on, as JSON
    ["moved", n]                                      its checkpoint is further than that of the one before
    ["queries", n, number, seconds]                   its queries so far, of an attempt that runs for longer
    ["stack", n, text]                                where it is now, because the parent has asked
    ["end", n, {…}]                                   how the attempt ended; its last record
    ["left", n]                                       the child exits now and starts no more attempts
    ["leaving", n]                                    the child starts no attempt after this one, which may still run

The three most frequent messages have a short form, which takes a quarter of the time: one line of the log, ``LOG``, one
update of the progress, ``PROGRESS``, and the end of an attempt that is done, ``DONE``: one, or several in a row. JSON
begins with none of their first bytes.

``n`` is the number of the attempt among those that the child was given, so that a record of an earlier attempt is never
taken for a later one's, even of the same job. A record that stays in its process has the job's id there. Messages of
any other shape are refused: the child runs other people's code.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any, NamedTuple

from qorworker.text.titles import MOST_TITLES, is_title

Record = list[Any]

TRACEBACK_CHARS = 16_000
ERROR_CHARS = 2_000
EXCEPTION_CLASS_CHARS = 200
LEVELS, PERCENT = 2**31, 2**7  # levels of a log and per cents in a short message are below that
RETURN_CHARS = 1024 * 1024  # of a job's return value, as JSON
REHEARSAL_CHARS = 256 * 1024  # of what a rehearsal has found, as JSON
CHECKPOINT_CHARS = 16 * 1024  # of a checkpoint, as JSON
FRAME = struct.Struct(">I")
DONE = struct.Struct(">cQdQd")  # b"\0", n, duration, peak memory, returned at
LOG = struct.Struct(">cQdi")  # b"\1", n, time, level; the text follows
PROGRESS = struct.Struct(">cQb?")  # b"\2", n, per cent or -1, whether a text follows


CANCEL, SUSPEND, STACK = "cancel", "suspend", "stack"  # what is asked about an attempt that shares its child: [kind, n]


class BadRecord(ValueError):
    """A message that is not a list of records."""


PLAIN = {"outcome", "duration", "peak_memory", "returned_at"}  # the fields of an end that is done and no more

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode(records: list[Record]) -> bytes:
    """Return records as one message."""
    match records:
        case [["log", number, float(at), int(level), str(text)]] if -LEVELS <= level < LEVELS:
            return LOG.pack(b"\1", number, at, level) + _bytes(text)
        case [["progress", number, int() | None as percent, str() | None as line]] if -1 < (percent or 0) < PERCENT:
            given = -1 if percent is None else percent
            return PROGRESS.pack(b"\2", number, given, line is not None) + _bytes(line or "")
        case [["end", number, {"outcome": "done", "duration": d, "peak_memory": peak, "returned_at": at, **more}]]:
            if not more:
                return DONE.pack(b"\0", number, d, peak, at)
        case [["end", *_], _, *_] if all(map(_is_plain_end, records)):
            return b"".join(encode([record]) for record in records)
    return _to_json(records).encode("utf-8", "backslashreplace")


def _is_plain_end(record: Record) -> bool:
    return bool(record[0] == "end" and record[2].keys() == PLAIN and record[2]["outcome"] == "done")


def decode(message: bytes) -> list[Record]:
    """Return the records of a message. Raises ``BadRecord`` for anything else."""
    if short := _SHORT.get(message[:1]):
        try:
            if short is _done and len(message) > DONE.size:
                return [_ended(*end) for end in DONE.iter_unpack(message)]
            return [short(message)]
        except (struct.error, UnicodeDecodeError) as error:
            raise BadRecord(str(error)) from error
    try:
        records = _from_json(message.decode())
    except (ValueError, RecursionError) as error:
        raise BadRecord(str(error)) from error
    if not isinstance(records, list) or not all(map(_fits, records)):
        raise BadRecord("not a list of records")
    return records


def _done(message: bytes) -> Record:
    return _ended(*DONE.unpack(message))


def _ended(kind: bytes, number: int, duration: float, peak: int, returned_at: float) -> Record:
    if kind != b"\0":
        raise BadRecord("not an end")
    ending = {
        "outcome": "done",
        "duration": _finite(duration),
        "peak_memory": peak,
        "returned_at": _finite(returned_at),
    }
    return ["end", number, ending]


def _log(message: bytes) -> Record:
    _kind, number, at, level = LOG.unpack_from(message)
    return ["log", number, _finite(at), level, message[LOG.size :].decode("utf-8", "surrogatepass")]


def _progress(message: bytes) -> Record:
    _kind, number, percent, has_text = PROGRESS.unpack_from(message)
    text = message[PROGRESS.size :].decode("utf-8", "surrogatepass") if has_text else None
    return ["progress", number, None if percent < 0 else percent, text]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _finite(time: float) -> float:
    if not math.isfinite(time):
        raise BadRecord("a time is no number")
    return time


_SHORT = {b"\0": _done, b"\1": _log, b"\2": _progress}


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
        case ["row", int(), list(cells)] | ["row", int(), list(cells), str()]:
            return all(
                isinstance(cell, list)
                and (len(cell) == 2 or (len(cell) == 3 and isinstance(cell[2], str)))
                and isinstance(cell[1], str)
                for cell in cells
            )
        case ["columns", int(), list(titles)]:
            return len(titles) <= MOST_TITLES and all(map(is_title, titles))
        case ["file", int(), int() | float(), dict()]:
            return True
        case ["return" | "rehearsal" | "checkpoint" | "stack", int(), str()]:
            return True
        case ["queries", int(), int(), int() | float()]:
            return True
        case ["left" | "leaving" | "moved", int()]:
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
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


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
    is_dry_run: bool = False  # a rehearsal
    version: int = 1  # of its type when its arguments were stored
