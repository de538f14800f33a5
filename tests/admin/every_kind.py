"""A job type with an argument of every kind that a person can fill in, and values for them."""

# ruff: noqa: B006 - defaults of a form, which nobody changes

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from hypothesis import strategies as st

from qorworker import Arg, Secret, job
from tests.testapp.models import Shop

KEY = UUID(int=7)


class Season(Enum):
    SUMMER = "summer"
    WINTER = "winter"


def everything(
    line: str,
    text: Annotated[str, Arg(multiline=True)],
    shop: Shop,
    shops: list[Shop],
    number: int = 1,
    share: float = 0.5,
    price: Annotated[Decimal, Arg(min_value="-1000000", max_value="1000000")] = Decimal("1.00"),
    yes: bool = True,
    perhaps: bool | None = True,
    day: dt.date = dt.date(2030, 1, 2),
    at: dt.time = dt.time(9, 30),
    begins: dt.datetime | None = None,
    pause: dt.timedelta | None = dt.timedelta(seconds=90),
    key: UUID | None = KEY,
    mode: Literal["plain", "rich"] = "plain",
    season: Season | None = Season.WINTER,
    level: Literal[1, 2, 3] = 2,
    codes: list[str] = ["a"],
    numbers: list[int] = [1],
    channels: list[Literal["web", "till"]] = ["web"],
    seasons: list[Season] = [Season.SUMMER],
    options: dict[str, Any] = {"a": 1},
    password: Secret[str] | None = None,
) -> None:
    """Takes everything."""


def declare() -> Any:
    return job(name="tests.everything", title="Everything")(everything)


def _typed(**options: Any) -> st.SearchStrategy[str]:
    """Text as a browser sends it and a form keeps it."""
    letters = st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp"))
    return st.text(letters, **options).map(lambda text: text.strip())


def _moments() -> st.SearchStrategy[dt.datetime]:
    """Seconds that exist, and only once, in Berlin."""
    moments = st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2100, 1, 1))
    moments = moments.map(lambda moment: moment.replace(microsecond=0))
    moments = moments.filter(lambda moment: moment.month not in (3, 10) or moment.hour > 4)
    return moments.map(berlin)


def berlin(moment: dt.datetime) -> dt.datetime:
    return moment.replace(tzinfo=ZoneInfo("Europe/Berlin")) if settings.USE_TZ else moment


def _json() -> st.SearchStrategy[Any]:
    leaves = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _typed(max_size=10)
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=3), max_leaves=5)


def values(shops: list[Shop]) -> st.SearchStrategy[dict[str, Any]]:
    nonempty = _typed(min_size=1, max_size=30).filter(bool)
    lines = st.lists(nonempty, min_size=1, max_size=3).map("\n".join)
    whole = st.integers(-(2**40), 2**40)
    return st.fixed_dictionaries(
        {
            "line": nonempty,
            "text": lines,
            "shop": st.sampled_from(shops),
            "shops": st.lists(st.sampled_from(shops), min_size=1, max_size=3, unique=True).map(
                lambda rows: sorted(rows, key=lambda row: row.pk)
            ),
            "number": whole,
            "share": st.floats(allow_nan=False, allow_infinity=False),
            "price": st.decimals(-(10**6), 10**6, places=2),
            "yes": st.booleans(),
            "perhaps": st.none() | st.booleans(),
            "day": st.dates(dt.date(1900, 1, 1), dt.date(2200, 1, 1)),
            "at": st.times().map(lambda time: time.replace(microsecond=0)),
            "begins": st.none() | _moments(),
            "pause": st.none() | st.timedeltas(dt.timedelta(days=-900), dt.timedelta(days=9000)),
            "key": st.none() | st.uuids(),
            "mode": st.sampled_from(["plain", "rich"]),
            "season": st.none() | st.sampled_from(Season),
            "level": st.sampled_from([1, 2, 3]),
            "codes": st.lists(nonempty, max_size=3),
            "numbers": st.lists(whole, max_size=3),
            "channels": st.lists(st.sampled_from(["web", "till"]), unique=True, max_size=2).map(
                lambda chosen: [one for one in ("web", "till") if one in chosen]
            ),
            "seasons": st.lists(st.sampled_from(Season), unique=True, max_size=2).map(
                lambda chosen: [one for one in Season if one in chosen]
            ),
            "options": st.dictionaries(_typed(max_size=5), _json(), max_size=3),
        }
    )
