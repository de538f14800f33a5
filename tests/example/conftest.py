"""Runs a job of the example project in this process, through the same function as a worker's child."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest

from qorworker.execution.endings import Ending
from qorworker.execution.execute import Work, execute
from qorworker.models import Job


@dataclass
class Told:
    """What an attempt told about itself."""

    ending: Ending | None = None
    log: list[str] = field(default_factory=list)
    rows: list[list] = field(default_factory=list)
    progress: list[int] = field(default_factory=list)

    def hear(self, record: list) -> None:
        match record:
            case ["log", _, _, _, text]:
                self.log.append(text)
            case ["row", _, cells, *_key]:
                self.rows.append(cells)
            case ["progress", _, int(percent), _]:
                self.progress.append(percent)


@pytest.fixture
def run(transactional_db, settings, tmp_path):
    """``run(job_type, **arguments)``, or ``run(job)`` for another attempt of a stored job.

    Not inside a test's transaction: before and after a job its connection is cleaned.
    """
    settings.MEDIA_ROOT = tmp_path

    def run(what, *, abort_after: int | None = None, **arguments) -> Told:
        job = what if isinstance(what, Job) else what.enqueue(**arguments)
        told = Told()
        work = Work(
            id=job.pk, name=job.name, arguments=json.dumps(job.arguments), attempt=1, max_attempts=1, token="test"
        )
        abort_requested = lambda: abort_after is not None and len(told.log) > abort_after  # noqa: E731
        told.ending = execute(work, told.hear, abort_requested=abort_requested)
        return told

    return run
