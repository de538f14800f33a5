"""Upgrades what older code has stored: arguments of waiting jobs and of schedules, one after the other. Commands."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import InterfaceError, OperationalError

from qorworker.definitions.registry import registry
from qorworker.models import Job, Origin, Schedule
from qorworker.queries.stored import groups, jobs_of, recurring


def upgrade_stored(using: str) -> Iterator[Job | Schedule]:
    """Upgrade arguments of older versions where the type has an ``upgrade``. Yield what was upgraded.

    Each is committed by itself, so what was done stays if this is interrupted. What cannot be upgraded stays as it is,
    and so do jobs that have got further: they are upgraded as they start.
    """
    for group in groups(using):
        if is_upgradable(group.name, group.version):
            yield from (job for job in jobs_of(group, using) if _upgraded(job))
    for schedule in recurring(using):
        if is_upgradable(schedule.job_name, schedule.version) and _upgraded(schedule):
            yield schedule


def is_upgradable(name: str, version: int) -> bool:
    """Return whether the type *name* can upgrade what this version has stored."""
    job_type = registry.find(name)
    return job_type is not None and job_type.upgrade is not None and version < job_type.version


def _upgraded(row: Job | Schedule) -> bool:
    try:
        return row.upgrade(origin=Origin.COMMAND)
    except (OperationalError, InterfaceError):
        raise
    except Exception:  # its row is gone, or a form's own code has failed: the check after this says what is left
        return False
