"""Jobs that wait for each other, share limits and rows, or wait for a call from outside. Test processes only."""

from __future__ import annotations

from django.test import Client

from qorworker import Selection, chain
from qorworker.models import Batch, Job
from qorworker.models.callbacks import address_of
from qorworker.testing import jobs
from qorworker.testing.contract.ground import Ground, lines_of


class Flows(Ground):
    """Jobs that wait for each other, share limits and rows, or wait for a call from outside."""

    def test_jobs_of_a_chain_run_one_after_another_with_the_results_of_those_before(self, path: str) -> None:
        first, second = chain(self.here(jobs.give).bind(number=7), self.here(jobs.add_up).bind(number=1)).enqueue()
        assert (self.ended(second).status, second.result) == ("done", 8)
        assert self.ended(first).status == "done"

    def test_what_waits_for_a_job_that_fails_is_cancelled(self, path: str) -> None:
        calls = self.here(jobs.fail).bind(message="no such luck"), self.here(jobs.write).bind(path=path)
        _first, second = chain(*calls).enqueue()
        assert self.ended(second).status == "cancelled"
        assert lines_of(path) == []

    def test_no_more_jobs_run_at_once_than_their_limit_allows(self, path: str) -> None:
        for made in self.here(jobs.one_at_a_time).enqueue_many([{"path": path}] * 3):
            assert self.ended(made).status == "done"
        assert lines_of(path) == ["begins", "ends"] * 3

    def test_the_chunks_of_a_selection_have_each_row_once(self, path: str) -> None:
        rows = self.here(jobs.write).enqueue_many({"path": path, "number": number} for number in range(5))
        chosen = Selection.of(Job.objects.filter(pk__in=[row.pk for row in rows]).order_by("pk"))
        calls = (self.here(jobs.list_rows).bind(rows=piece) for piece in chosen.pieces(2))
        batch = Batch.objects.enqueue("Chunks", calls)
        results = [self.ended(made).result for made in batch.jobs.order_by("pk")]
        assert results == [[row.pk for row in rows[start : start + 2]] for start in (0, 2, 4)]

    def test_a_job_waits_for_a_call_from_outside(self, path: str) -> None:
        made = self.here(jobs.wait_for_call).enqueue()
        self.wait_until(Job.objects.asking().filter(pk=made.pk, attempts__outcome="suspended").exists)
        url = address_of(made.questions.get())
        assert Client().post(url, '{"paid": true}', content_type="application/json").status_code == 204
        assert self.ended(made).result == {"paid": True}
        assert Client().post(url, "1", content_type="application/json").status_code == 410
