"""The options of ``using()``."""

from __future__ import annotations

import datetime as dt

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.utils import timezone

from qorworker.compat import (
    InvalidTask,
    TaskResultStatus,
)
from qorworker.testing import tasks
from qorworker.testing.task_contract.ground import Ground


class Changes(Ground):
    """The options of ``using()``."""

    def test_priorities(self) -> None:
        if not self.backend.supports_priority:
            with pytest.raises(InvalidTask):
                self.here(tasks.add, priority=1)
            return
        for priority in (-100, 100, 10):
            result = self.here(tasks.add, priority=priority).enqueue(1)
            assert result.task.priority == priority
            self.ended(result)
        for wrong in (-101, 101, 1.5):
            with pytest.raises(InvalidTask):
                self.here(tasks.add, priority=wrong)

    def test_a_later_time(self) -> None:
        if not self.backend.supports_defer:
            with pytest.raises(InvalidTask):
                self.here(tasks.add, run_after=timezone.now())
            return
        later = timezone.now() + dt.timedelta(days=1)
        result = self.here(tasks.add, run_after=later).enqueue(1)
        self.ended(self.here(tasks.add).enqueue(1))
        result.refresh()
        assert (result.status, result.attempts) == (TaskResultStatus.READY, 0)
        assert result.task.run_after is not None
        assert abs(result.task.run_after - later) < dt.timedelta(milliseconds=1)
        past = self.ended(self.here(tasks.add, run_after=timezone.now() - dt.timedelta(days=1)).enqueue(1))
        assert past.return_value == 3

    def test_a_time_without_a_zone_is_refused(self) -> None:
        if self.backend.supports_defer and settings.USE_TZ:
            with pytest.raises(InvalidTask):
                self.here(tasks.add, run_after=dt.datetime(2040, 1, 1))  # noqa: DTZ001

    def test_a_span_as_the_time(self) -> None:
        if self.accepts_timedelta:
            result = self.here(tasks.add, run_after=dt.timedelta(hours=2)).enqueue(1)
            assert result.task.run_after - result.enqueued_at == dt.timedelta(hours=2)

    def test_queues(self) -> None:
        with pytest.raises(InvalidTask):
            self.here(tasks.add, queue_name="no such queue")
        if self.other_queue:
            result = self.here(tasks.add, queue_name=self.other_queue).enqueue(1)
            assert result.task.queue_name == self.other_queue
            assert self.ended(result).return_value == 3

    def test_a_function_inside_another_is_no_task(self) -> None:
        def inner() -> None:
            """Cannot be imported."""

        with pytest.raises(InvalidTask):
            self.backend.task_class(
                func=inner, priority=0, queue_name="default", backend=self.alias, takes_context=False, run_after=None
            )

    def test_a_context_needs_its_parameter(self) -> None:
        with pytest.raises(InvalidTask):
            self.backend.task_class(
                func=tasks.add.func, priority=0, queue_name="default", backend=self.alias, takes_context=True,
                run_after=None,
            )  # fmt: skip

    def test_using_leaves_the_task_as_it_is(self) -> None:
        task = self.here(tasks.add)
        changed = task.using(queue_name=self.other_queue or None)
        assert task.using() == task
        assert changed.func is task.func
        assert (task.queue_name, changed.queue_name) == ("default", self.other_queue or "default")

    def test_calling_a_task_runs_it_here(self) -> None:
        assert self.here(tasks.add).call(1, 2) == 3
        assert self.here(tasks.add_later if self.backend.supports_async_task else tasks.add).call(1, 2) == 3
        assert async_to_sync(self.here(tasks.add).acall)(1, 2) == 3
