"""Results that are looked up."""

from __future__ import annotations

import asyncio
import time

import pytest
from asgiref.sync import async_to_sync

from qorworker.compat import (
    TaskResultDoesNotExist,
)
from qorworker.testing import tasks
from qorworker.testing.task_contract.ground import Ground


class Lookups(Ground):
    """Results that are looked up."""

    def test_a_result_is_found_again(self) -> None:
        result = self.here(tasks.add).enqueue(1, second=1)
        if not self.backend.supports_get_result:
            with pytest.raises(NotImplementedError):
                self.backend.get_result(result.id)
            return
        for copy in (
            self.backend.get_result(result.id),
            self.here(tasks.add).get_result(result.id),
            async_to_sync(self.backend.aget_result)(result.id),
        ):
            for name in ("task", "id", "args", "kwargs", "backend", "enqueued_at"):
                assert getattr(copy, name) == getattr(result, name)
        self.ended(result)
        assert self.backend.get_result(result.id).return_value == 2

    def test_a_result_is_refreshed_in_a_coroutine(self) -> None:
        if not self.backend.supports_get_result:
            return
        result = self.here(tasks.add).enqueue(1)
        self.drain()

        async def refreshed() -> None:
            deadline = time.monotonic() + self.patience
            while not result.is_finished and time.monotonic() < deadline:
                await result.arefresh()
                await asyncio.sleep(0.02)

        async_to_sync(refreshed)()
        assert result.return_value == 3

    @pytest.mark.parametrize("wrong", ["123456789", "0", "-1", "x", "", "9" * 40, "1e3", "\N{SUPERSCRIPT TWO}", "1 "])
    def test_what_is_no_result_does_not_exist(self, wrong: str) -> None:
        if self.backend.supports_get_result:
            with pytest.raises(TaskResultDoesNotExist):
                self.backend.get_result(wrong)

    def test_the_result_of_another_task_is_none_of_this(self) -> None:
        if self.backend.supports_get_result:
            result = self.here(tasks.add).enqueue(1)
            with pytest.raises(Exception, match="does not match"):
                self.here(tasks.echo).get_result(result.id)
            self.ended(result)
