"""What makes a loop wait: a function that says for how long. Wherever a job runs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from inspect import iscoroutinefunction

from qorworker.definitions.backoff import seconds
from qorworker.text.storable import text_of

Ask = Callable[[], float | dt.timedelta | None]

USUAL = 30.0  # seconds that True stands for


class Throttle:
    """Asks a function whether a loop has to wait."""

    def __init__(self, ask: Ask) -> None:
        if not callable(ask) or iscoroutinefunction(ask):
            raise TypeError(f"throttle must be a plain function that returns how long to wait, not {ask!r}.")
        self.ask = ask

    def pause(self) -> float:
        """Return how many seconds to wait before it is asked again; 0 if the loop may go on.

        Raises ``RuntimeError`` if the function fails, and ``ValueError`` for what is no time from 0 to a year.
        """
        try:
            answer = self.ask()
        except Exception as error:
            raise RuntimeError(f"The throttle of iterate() failed: {type(error).__name__}: {text_of(error)}") from error
        if answer is None or isinstance(answer, bool):
            return USUAL if answer else 0.0
        return seconds(answer, "The throttle of iterate()")
