"""“Did you mean …?” for names that do not exist. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: object, names: Iterable[str], synonyms: dict[str, str] | None = None) -> str:
    """Return a question that names the closest of *names*, with a space in front; empty if none is close.

    :param names: the names that exist. Capital letters make no difference.
    :param synonyms: names that other packages use, each with its name here.
    """
    if not isinstance(name, str):
        return ""
    plain = {each.lower(): each for each in names}
    if (meant := (synonyms or {}).get(name.lower())) is None:
        close = get_close_matches(name.lower(), plain, n=1, cutoff=0.7)
        close = close or [each for each in plain if each.endswith(f".{name.lower()}")]
        meant = plain[close[0]] if close else None
    return f" Did you mean {meant!r}?" if meant else ""
