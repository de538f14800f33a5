"""Transactions and signals."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from django.db import transaction

from qorworker.compat import (
    TaskResultDoesNotExist,
    TaskResultStatus,
)
from qorworker.testing import tasks
from qorworker.testing.task_contract.ground import Ground, heard


class Events(Ground):
    """Transactions and signals."""

    def test_a_task_belongs_to_the_transaction(self, path: str) -> None:
        if not self.backend.supports_get_result:
            return
        with suppress(ZeroDivisionError), transaction.atomic():
            result = self.here(tasks.note).enqueue(path, "never")
            raise ZeroDivisionError
        with pytest.raises(TaskResultDoesNotExist):
            self.backend.get_result(result.id)
        with transaction.atomic():
            result = self.here(tasks.note).enqueue(path, "once")
            assert result.status == TaskResultStatus.READY
        self.ended(result)
        assert Path(path).read_text() == "once\n"

    def test_signals_tell_of_a_task(self) -> None:
        with heard() as events:
            result = self.run(tasks.add, 1)
        enqueued = [event for event in events if event[0] == "enqueued"]
        assert enqueued == [("enqueued", type(self.backend), result.id, enqueued[0][3])]
        if self.sends_signals_here:
            assert [(name, status) for name, _, _, status in events[1:]] == [
                ("started", TaskResultStatus.RUNNING),
                ("finished", TaskResultStatus.SUCCESSFUL),
            ]
            assert {(sender, str(id)) for _, sender, id, _ in events} == {(type(self.backend), str(result.id))}

    def test_signals_tell_of_a_failure(self) -> None:
        with heard() as events:
            self.run(tasks.fail, "no")
        if self.sends_signals_here:
            assert [name for name, *_ in events] == ["enqueued", "started", "finished"]
            assert events[-1][3] == TaskResultStatus.FAILED
