"""The rows of another job that a job repeats, as its page names them. Web."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from qorworker.arguments.row_keys import RowKeys
from qorworker.text.cleaning import visible

SHOWN = 10  # keys; all of them are among the arguments


@dataclass(frozen=True)
class RepeatedRows:
    """How many rows they are, and the keys of the first ones in one line."""

    number: int
    keys: str

    @classmethod
    def of(cls, keys: RowKeys) -> RepeatedRows:
        named = ", ".join(map(visible, islice(keys, SHOWN)))
        return cls(len(keys), f"{named}, …" if len(keys) > SHOWN else named)
