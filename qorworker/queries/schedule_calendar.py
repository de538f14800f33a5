"""The queries of the calendar of schedules: what became of past times, a few rows whatever the tables hold. Web."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connections

from qorworker.models.clock import as_datetime, aware, stored
from qorworker.models.job import Job
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.schedule_slot import ScheduleSlot
from qorworker.queries.schedule_list import SHOWN

MOST = 3_000  # times in all schedules together, but
LEAST, EACH = 15, 150  # times of one schedule, at least and at most
TIMES = """
    SELECT * FROM (
        SELECT schedule_id, planned_at, outcome, reason, holiday, missed, job_id FROM {slots}
        WHERE schedule_id = %s AND planned_at >= %s AND planned_at < %s ORDER BY planned_at DESC LIMIT {most}
    ) AS times
"""


@dataclass(frozen=True)
class PastTime:
    """What became of one time of a schedule."""

    schedule: int
    moment: dt.datetime  # aware
    outcome: str
    reason: str
    holiday: str
    missed: int
    job: Job | None  # if it made one that may be seen


def past_times(
    schedules: Sequence[int], begin: dt.datetime, end: dt.datetime, jobs: JobQuerySet
) -> tuple[list[PastTime], set[int]]:
    """Return the last times of *schedules* from *begin* until *end*, in order, with those of their *jobs*.

    :param schedules: ids, at most two hundred.
    :param begin: an aware moment.
    :param end: an aware moment.
    :returns: the times, and the schedules that had more of them.
    """
    if not schedules:
        return [], set()
    connection = connections[jobs.db]
    most = max(LEAST, min(EACH, MOST // len(schedules)))
    limits = [connection.ops.adapt_datetimefield_value(stored(moment)) for moment in (begin, end)]
    one = TIMES.format(slots=ScheduleSlot._meta.db_table, most=most + 1)
    with connection.cursor() as cursor:
        cursor.execute(
            " UNION ALL ".join([one] * len(schedules)),
            [value for schedule in schedules for value in (schedule, *limits)],
        )
        rows = cursor.fetchall()
    seen = jobs.only(*SHOWN).without_return_value().in_bulk([row[-1] for row in rows if row[-1]])
    counts: dict[int, int] = {}
    times = []
    for schedule, planned_at, outcome, reason, holiday, missed, job in rows:  # of each schedule the newest first
        counts[schedule] = counts.get(schedule, 0) + 1
        if counts[schedule] <= most:
            moment = aware(as_datetime(connection, planned_at))
            times.append(PastTime(schedule, moment, outcome, reason, holiday, missed, seen.get(job)))
    times.sort(key=lambda time: time.moment)
    return times, {schedule for schedule, number in counts.items() if number > most}
