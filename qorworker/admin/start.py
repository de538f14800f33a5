"""What a run form can start from: its defaults, the user's own last runs, saved arguments. Web."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

from qorworker import permissions
from qorworker.admin.prefill import Filled
from qorworker.arguments import codec
from qorworker.models import Job, Preset, starting
from qorworker.registry import JobType

RUNS = 5


@dataclass(frozen=True)
class Start:
    """One entry of the menu; either of a job or of saved arguments."""

    query: str
    summary: str
    is_current: bool
    job: Job | None = None
    preset: Preset | None = None
    may_delete: bool = False


def starts(request: HttpRequest, job_type: JobType[Any], filled: Filled) -> list[Start]:
    """Everything but the defaults; nothing for a type without arguments."""
    if not job_type.arguments.fields:
        return []
    return [*_runs(request.user, job_type, filled), *_presets(request.user, job_type, filled)]


def _runs(user: Any, job_type: JobType[Any], filled: Filled) -> Iterator[Start]:
    """The last runs of the user that differ in their arguments."""
    if not permissions.can(user, "rerun", job_type):
        return
    seen: set[str] = set()
    for job in starting.runs_of_user(user, job_type.name):
        key = _key(job_type, job.arguments)
        if key in seen:
            continue
        seen.add(key)
        summary = job_type.arguments.summary(job.arguments)
        yield Start(f"?from={job.pk}", summary, filled.source is not None and filled.source.pk == job.pk, job=job)
        if len(seen) == RUNS:
            return


def _key(job_type: JobType[Any], stored: dict[str, Any]) -> str:
    """What of the arguments fills the form: the same text for runs that would fill it in the same way."""
    fields = job_type.arguments.fields
    kept = {name: value for name, value in stored.items() if name in fields and not codec.is_private(fields[name])}
    return json.dumps(kept, sort_keys=True, default=str)


def _presets(user: Any, job_type: JobType[Any], filled: Filled) -> Iterator[Start]:
    for preset in Preset.objects.usable_by(user).for_type(job_type.name):
        yield Start(
            f"?preset={preset.pk}",
            job_type.arguments.summary(preset.arguments),
            filled.preset is not None and filled.preset.pk == preset.pk,
            preset=preset,
            may_delete=may_delete(user, preset),
        )


def may_delete(user: Any, preset: Preset) -> bool:
    """One's own; and for superusers, what others share: its owner may have left."""
    return preset.belongs_to(user) or (preset.is_shared and user.is_superuser)
