"""How long a failed job waits for its next attempt. All processes."""

from __future__ import annotations

import datetime as dt
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger(__name__)

Delay = float | int | dt.timedelta
Backoff = Callable[[int], Delay]

LONGEST = 366 * 24 * 3600.0  # seconds; a longer wait is a mistake in a strategy, not a wish


@dataclass(frozen=True)
class Exponential:
    """A random time up to ``base`` times 1, 2, 4, 8… seconds, never more than ``cap``.

    The whole span is random, so jobs that failed together do not return together.
    """

    base: float = 15.0
    cap: float = 3600.0

    def __call__(self, attempt: int) -> float:
        longest = min(self.cap, self.base * 2.0 ** min(attempt - 1, 64))
        return random.uniform(0, longest)  # noqa: S311


@dataclass(frozen=True)
class Linear:
    """``base`` seconds after the first attempt, twice that after the second, and so on up to ``cap``."""

    base: float = 15.0
    cap: float = 3600.0

    def __call__(self, attempt: int) -> float:
        return min(self.cap, self.base * attempt)


@dataclass(frozen=True)
class Constant:
    """The same number of seconds after every attempt."""

    seconds: float = 15.0

    def __call__(self, attempt: int) -> float:
        return self.seconds


STRATEGIES: dict[str, Backoff] = {"exponential": Exponential(), "linear": Linear(), "constant": Constant()}


def seconds(delay: Delay, name: str = "A back-off") -> float:
    """Return *delay* as seconds. *name* begins the text of errors.

    :raises ValueError: if it is not a time from 0 to a year.
    """
    value = delay.total_seconds() if isinstance(delay, dt.timedelta) else delay
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name} must be seconds or a timedelta, not {delay!r}.")
    if not 0 <= value <= LONGEST:  # NaN is not, either
        raise ValueError(f"{name} must be between 0 seconds and a year, not {delay!r}.")
    return float(value)


def seconds_after(backoff: Backoff, attempt: int, name: str) -> float:
    """Return the seconds to wait after a failed attempt of the job type *name*. This never raises."""
    try:
        return seconds(backoff(attempt))
    except Exception:
        logger.exception("The back-off of %s failed; the default is used instead.", name)
        return seconds(STRATEGIES["exponential"](attempt))
