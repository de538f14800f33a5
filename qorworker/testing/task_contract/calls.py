"""Tasks that are enqueued and run."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync

from qorworker.compat import (
    InvalidTask,
    TaskResult,
    TaskResultStatus,
)
from qorworker.testing import tasks
from qorworker.testing.task_contract.ground import Ground


class Calls(Ground):
    """Tasks that are enqueued and run."""

    def test_the_alias_has_this_backend(self) -> None:
        assert self.backend.alias == self.alias
        assert self.here(tasks.add).get_backend() is self.backend

    def test_its_checks_find_nothing_wrong(self) -> None:
        assert list(self.backend.check()) == []

    def test_a_task_belongs_to_the_class_of_its_backend_or_a_base_of_it(self) -> None:
        assert issubclass(self.backend.task_class, tasks.add.__class__.__mro__[-2]) or isinstance(
            self.here(tasks.add), self.backend.task_class
        )

    def test_enqueueing_returns_a_result_that_is_ready(self) -> None:
        result = self.here(tasks.add).enqueue(1, second=4)
        assert isinstance(result, TaskResult)
        assert result.backend == self.alias
        assert result.task.func is tasks.add.func
        assert (result.args, result.kwargs) == ([1], {"second": 4})
        assert isinstance(result.id, str)
        assert 0 < len(result.id) < 64
        assert result.enqueued_at is not None
        if self.backend.supports_get_result:
            assert result.status == TaskResultStatus.READY
            assert (result.started_at, result.finished_at, result.last_attempted_at) == (None, None, None)
            assert (result.errors, result.worker_ids, result.attempts, result.is_finished) == ([], [], 0, False)
            with pytest.raises(ValueError):
                _ = result.return_value
        self.ended(result)

    def test_a_task_is_run_and_its_value_returned(self) -> None:
        result = self.run(tasks.add, 1, second=4)
        assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, 5)
        assert (result.errors, result.attempts, len(result.worker_ids)) == ([], 1, 1)
        assert result.started_at is not None
        assert result.finished_at is not None
        assert result.enqueued_at is not None
        assert result.enqueued_at <= result.started_at <= result.finished_at
        assert result.last_attempted_at == result.started_at

    def test_defaults_of_the_function_count(self) -> None:
        assert self.run(tasks.add, 3).return_value == 5

    def test_arguments_arrive_as_json_carries_them(self) -> None:
        result = self.run(tasks.echo, (1, 2.5), b"text", None, deep={"a": [True, {"b": "\N{SNOWMAN}"}]})
        assert result.return_value == [[[1, 2.5], "text", None], {"deep": {"a": [True, {"b": "\N{SNOWMAN}"}]}}]
        assert result.args == [[1, 2.5], "text", None]
        assert result.kwargs == {"deep": {"a": [True, {"b": "\N{SNOWMAN}"}]}}

    def test_an_annotation_changes_no_argument(self) -> None:
        assert self.run(tasks.add, "1", "2").return_value == "12"

    def test_what_json_cannot_carry_is_refused_at_once(self) -> None:
        with pytest.raises(TypeError):
            self.here(tasks.echo).enqueue(object())
        if not self.is_strict:
            return
        with pytest.raises(ValueError):
            self.here(tasks.echo).enqueue(float("nan"))
        result = self.here(tasks.echo).enqueue({1: 2})
        assert result.args == self.backend.get_result(result.id).args == [{"1": 2}]
        self.ended(result)

    def test_a_call_that_the_function_would_not_take_is_refused_at_once(self) -> None:
        if self.is_strict:
            for args, kwargs in (((1, 2, 3), {}), ((), {"second": 1}), ((1,), {"third": 1})):
                with pytest.raises(TypeError):
                    self.here(tasks.add).enqueue(*args, **kwargs)

    def test_coroutines(self) -> None:
        if self.backend.supports_async_task:
            assert self.run(tasks.add_later, 2, 3).return_value == 5
            return
        with pytest.raises(InvalidTask):
            self.here(tasks.add_later)

    def test_enqueueing_from_a_coroutine(self) -> None:
        async def enqueue() -> TaskResult[Any, Any]:
            made: TaskResult[Any, Any] = await self.here(tasks.add).aenqueue(1, 1)
            return made

        assert self.ended(async_to_sync(enqueue)()).return_value == 2
