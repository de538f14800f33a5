"""A database whose clock shows what a test wants."""

from __future__ import annotations

import datetime as dt

from django.conf import settings
from django.utils import timezone

from qorworker.models import clock, schedule_slot
from qorworker.models.sql import schedules


class Clock:
    """Set ``now`` (aware), or go ``forward``; the database's own functions follow in this process."""

    def __init__(self, monkeypatch, now: str = "2026-11-22T12:00:00+00:00") -> None:
        self.now = dt.datetime.fromisoformat(now)
        for module in (clock, schedules, schedule_slot):
            monkeypatch.setattr(module, "now_sql", self._sql)

    def show(self, text: str) -> None:
        self.now = dt.datetime.fromisoformat(text)

    def forward(self, **units: float) -> None:
        self.now += dt.timedelta(**units)

    def _sql(self, connection, plus: str = "") -> str:
        moment = self.now.astimezone(dt.UTC)
        if connection.vendor == "postgresql":
            later = f" + make_interval(secs => {plus})" if plus else ""
            return f"TIMESTAMPTZ '{moment:%Y-%m-%d %H:%M:%S.%f}+00'{later}"
        if not settings.USE_TZ:
            moment = timezone.make_naive(moment, timezone.get_default_timezone())
        text = f"{moment:%Y-%m-%d %H:%M:%S.%f}"
        if connection.vendor == "mysql":
            later = f" + INTERVAL ROUND(({plus}) * 1000000) MICROSECOND" if plus else ""
            return f"TIMESTAMP('{text}'){later}"
        later = f", PRINTF('%%+.3f seconds', {plus})" if plus else ""
        return f"STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f000', '{text}'{later})"
