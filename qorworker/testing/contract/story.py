"""The output of a job is kept."""

from __future__ import annotations

import logging

from django.utils import translation

from qorworker.models import Job
from qorworker.testing import jobs
from qorworker.testing.contract.ground import Ground, lines_of, log_of


class Stories(Ground):
    """The output of a job is kept."""

    def test_what_a_job_says_lands_in_its_log(self) -> None:
        job = self.run(jobs.story)
        assert [(line.text, line.level) for line in log_of(job)] == [
            ("by the context", logging.INFO),
            ("logged", logging.WARNING),
            ("by its logger", logging.INFO),
            ("broken", logging.ERROR),
        ]
        assert [line.number for line in log_of(job)] == [1, 2, 3, 4]
        assert job.log_lines == 4

    def test_what_a_job_prints_lands_in_its_log(self) -> None:
        job = self.run(jobs.output)
        expected = ["printed", "to stderr"] if self.backend.supports_output else []
        assert [line.text for line in log_of(job)] == expected

    def test_progress_and_results_are_kept(self) -> None:
        job = self.run(jobs.story)
        assert (job.status, job.progress, job.progress_text) == ("done", 100, "three of four")
        assert [[cell["value"] for cell in row.cells] for row in job.results.order_by("number")] == [
            ["A-1", 5],
            ["A-2", 6],
        ]
        assert (job.results_rows, job.results_errors) == (2, 0)
        with translation.override("de"):
            assert job.results_titles == ["SKU", "Zeile"]
        assert list(job.results.order_by("number").values_list("key", flat=True)) == [None, "A-2"]

    def test_rows_with_errors_fail_the_job_and_stay(self) -> None:
        job = self.run(jobs.row_errors)
        assert (job.status, job.results_rows, job.results_errors) == ("exception", 2, 1)
        assert job.attempts.get().outcome == "row_errors"

    def test_it_shows_what_it_says_while_it_runs(self, path: str, gate: str) -> None:
        with self.begun(jobs.wait, path, gate=gate) as job:
            self.wait_until(lambda: Job.objects.filter(pk=job.pk, progress=40).exists())
            self.wait_until(lambda: [line.text for line in log_of(job)] == ["waiting"])
            assert Job.objects.get(pk=job.pk).progress_text == "waiting"
        assert self.ended(job).status == "done"

    def test_a_job_with_its_own_transaction_ends_with_it(self, path: str) -> None:
        job = self.run(jobs.at_once, path=path)
        assert (job.status, lines_of(path)) == ("done", ["run"])
        self.wait_until(job.attempts.exists)  # its story comes after the end that it has committed itself
        assert [line.text for line in log_of(job)] == ["in its own transaction"]
        assert job.attempts.get().outcome == "done"
