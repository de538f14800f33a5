"""Looks again and again which schedules are due, and has them fire in turn. Parents, cron, Celery's beat."""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.db import InterfaceError, InternalError, OperationalError

from qorworker.definitions.registry import registry
from qorworker.maintenance.candidates import candidates
from qorworker.maintenance.declared import follow_zones, sync_declared
from qorworker.maintenance.firing import fire, fires_alone, planned
from qorworker.models import Schedule, database_now
from qorworker.models.locks import waited_in_vain
from qorworker.system.processes import monotonic

if TYPE_CHECKING:
    from qorworker.models.sql.schedules import Place, Soon

logger = logging.getLogger(__name__)

LOOK = 1.0  # seconds between two looks at the table; an earlier slot is met exactly
SHARE = 0.05  # seconds of one look, after which no more schedules are begun, so that other duties get their turn
AT_ONCE = 100  # schedules in one transaction, or jobs
CHECKING = 0.025  # seconds in which schedules are checked that then fire together
SOONEST = 0.01  # seconds before another look if nothing moved on
BUSY = 0.1  # seconds before a schedule that another worker fires is tried again
FAULTY = 60.0  # the same after an unforeseen error
PAUSES = {True: 0.0, False: LOOK, None: BUSY}  # by what ``fire`` says of a schedule


class Scheduler:
    """Fires due schedules, and remembers which ones to leave alone for a while.

    What it has read as due is worked off in as many looks as that takes, before the table is read again. So each of
    very many schedules gets its turn before any other gets a second one.
    """

    def __init__(self, using: str) -> None:
        self.using = using
        self.due: deque[int] = deque()  # ids of schedules that have not had their turn
        self.at_once = AT_ONCE  # how many of them fire together at most
        self.alone: set[int] = set()  # ids of those among them that fire alone
        self.behind: Place | None = None  # where in their order there may be more of them
        self.read_at = 0.0  # when the first of them were read
        self.ahead = LOOK  # seconds from then to the time of the next schedule
        self.has_moved = False  # whether one of them moved on
        self.failed: set[int] = set()  # ids of schedules that failed, together with others or alone
        self.doubted: set[int] = set()  # ids of schedules with which the driver failed
        self.left_alone: dict[int, float] = {}  # id of a schedule -> until when, on this worker's clock
        self.prepared = False

    def prepare(self) -> None:
        """Sync the table with the code and the rules of time zones, once."""
        if not self.prepared:
            sync_declared(self.using)
            follow_zones(self.using)
            self.prepared = True

    def fire_all(self) -> int:
        """Fire all that is due now, and return how many schedules moved on."""
        self.prepare()
        fired, wait = self.look()
        while wait <= 0:
            moved, wait = self.look()
            fired += moved
        return fired

    def look(self) -> tuple[int, float]:
        """Fire what is due. Return how many schedules moved on, and the seconds until the next look."""
        begun, moved = monotonic(), 0
        if not self.due:
            self._read(begun)
        while self.due:
            moved += self._fire_next()
            if monotonic() - begun > SHARE:
                break
        self.has_moved = self.has_moved or bool(moved)
        return moved, 0.0 if self.due or self.behind or self.has_moved else self._rest(begun)

    def _read(self, now: float) -> None:
        """Read which schedules are due, of very many those that follow the ones that were read last."""
        rows, names = Schedule.objects.using(self.using), registry.startable_names()
        self.left_alone = {pk: until for pk, until in self.left_alone.items() if until > now}
        if self.behind is None:
            self.read_at, self.ahead, self.has_moved = now, LOOK, False
        while not self.due:
            are_first = self.behind is None
            soon, self.behind = rows.soon(names, registry.versions(), LOOK, self.behind)
            if are_first and self.behind is None:
                self.failed &= {each.pk for each in soon}
            self._add(soon)
            if self.behind is None:
                break

    def _add(self, soon: Sequence[Soon]) -> None:
        """Add those that are due. Those that fire alone come last, so that the others can fire together."""
        self.alone = self.failed | {each.pk for each in soon if fires_alone(each.job_name, each.overlap)}
        due = [each.pk for each in soon if each.seconds <= 0 and each.pk not in self.left_alone]
        self.due.extend(sorted(due, key=self.alone.__contains__))
        if len(due) > AT_ONCE:
            # Several workers do not begin with the same ones.
            self.due.rotate(random.randrange(len(due)))  # noqa: S311 - no secret
        self.ahead = min([self.ahead, *(each.seconds for each in soon if each.seconds > 0)])

    def _rest(self, now: float) -> float:
        """Return the seconds until a schedule may be due. Never 0: nothing that was due can move on now."""
        waits = (until - now for until in self.left_alone.values() if until > now)
        return max(SOONEST, min(self.ahead - (now - self.read_at), *waits, LOOK))

    def _fire_next(self) -> int:
        """Fire those whose turn it is, and return how many moved on."""
        ids = self._next()
        try:
            pauses = self._fire(ids)
        except Exception as error:
            self.failed.update(ids)
            pauses = self._pauses_after(error, ids)
        else:
            self.failed.difference_update(pauses)
            self.doubted.difference_update(pauses)
        self.due.extendleft(pk for pk in reversed(ids) if pk not in pauses)
        now = monotonic()
        self.left_alone.update((pk, now + pause) for pk, pause in pauses.items() if pause)
        return sum(not pause for pause in pauses.values())

    def _next(self) -> list[int]:
        """Take one that fires alone, or several that fire together."""
        ids = [self.due.popleft()]
        while self.due and len(ids) < self.at_once and self.alone.isdisjoint((ids[0], self.due[0])):
            ids.append(self.due.popleft())
        return ids

    def _fire(self, ids: Sequence[int]) -> dict[int, float]:
        """Fire schedules, and return for how long to leave each alone: 0 if it moved on.

        Those for which no time is left are not among them.
        """
        begun, now, jobs = monotonic(), database_now(self.using), 0
        firings, pauses = [], {}
        for pk, candidate in candidates(ids, self.using):
            if candidate is None:
                pauses[pk] = BUSY
            else:
                firings.append(planned(candidate, now))
                jobs += len(firings[-1].run)
            if jobs >= AT_ONCE or monotonic() - begun > CHECKING:
                break
        outcomes = fire(firings, self.using, now) if firings else {}
        pauses |= {pk: PAUSES[outcome] for pk, outcome in outcomes.items()}
        self._adapt(len(ids), len(pauses))
        return pauses

    def _adapt(self, begun: int, done: int) -> None:
        """Take fewer together if there was no time for some: they are read once more. Else take more again."""
        if done < begun:
            self.at_once = done
        elif done == self.at_once:
            self.at_once = min(AT_ONCE, 2 * done)

    def _pauses_after(self, error: Exception, ids: Sequence[int]) -> dict[int, float]:
        """Return for how long to leave schedules alone that failed, or raise the error again.

        If several failed together, each gets another turn alone, and so shows whether the fault is its own.
        """
        if len(ids) == 1:
            return {ids[0]: self._pause_after(error, ids[0])}
        if isinstance(error, (OperationalError, InterfaceError, InternalError)) and not waited_in_vain(error):
            raise error
        self.alone.update(ids)
        return {}

    def _pause_after(self, error: Exception, pk: int) -> float:
        """Do the same for one that failed alone."""
        if isinstance(error, (OperationalError, InterfaceError)):
            if not waited_in_vain(error):
                raise error  # no fault of this schedule
            # An open transaction has a job like its own, and may yet roll back, or has locked a run that is to end.
            return LOOK
        if isinstance(error, InternalError) and pk not in self.doubted:
            # A fault of the connection, unless it recurs on a new one. The other schedules fire first.
            self.doubted.add(pk)
            self.left_alone[pk] = monotonic() + LOOK
            raise error
        self.doubted.discard(pk)
        name = Schedule.objects.using(self.using).filter(pk=pk).values_list("name", flat=True).first()
        logger.error("The schedule “%s” could not be fired.", name, exc_info=error)
        return FAULTY
