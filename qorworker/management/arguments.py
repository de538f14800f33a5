"""Types of options for the parsers of commands."""

from __future__ import annotations

import argparse


def at_least_one(text: str) -> int:
    """Return a whole number that is not zero."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1.")
    return int(text)


def seconds(text: str) -> float:
    """Return a number of seconds that is not negative."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds.")
    return number
