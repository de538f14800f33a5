"""Tasks that fail, and tasks that read their own context."""

from __future__ import annotations

from pathlib import Path

import pytest

from qorworker.compat import (
    TaskResultStatus,
)
from qorworker.testing import tasks
from qorworker.testing.task_contract.ground import Ground


class Ends(Ground):
    """Tasks that fail, and tasks that read their own context."""

    def test_a_task_that_raises_has_failed(self) -> None:
        result = self.run(tasks.fail, "no such luck")
        assert (result.status, result.is_finished, result.attempts) == (TaskResultStatus.FAILED, True, 1)
        [error] = result.errors
        assert error.exception_class is ValueError
        assert "no such luck" in error.traceback
        assert "Traceback (most recent call last)" in error.traceback
        with pytest.raises(ValueError):
            _ = result.return_value

    def test_a_task_that_leaves_has_failed(self) -> None:
        [error] = self.run(tasks.leave).errors
        assert error.exception_class is SystemExit

    def test_a_value_that_json_cannot_carry_fails_the_task(self) -> None:
        result = self.run(tasks.unserializable)
        assert (result.status, result.errors[0].exception_class) == (TaskResultStatus.FAILED, TypeError)
        if self.is_strict:
            result = self.run(tasks.not_a_number)
            assert (result.status, result.errors[0].exception_class) == (TaskResultStatus.FAILED, ValueError)

    def test_a_task_that_takes_its_context(self, path: str) -> None:
        result = self.run(tasks.attempt, path)
        assert result.return_value == [path]
        assert Path(path).read_text() == f"1 {result.id} RUNNING"
