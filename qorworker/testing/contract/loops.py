"""Loops that another attempt goes on with, files, and commands. Test processes only."""

from __future__ import annotations

import logging

import pytest

from qorworker.arguments import files
from qorworker.exceptions import UnsupportedByBackend
from qorworker.models import Job
from qorworker.testing import jobs
from qorworker.testing.contract.ground import Ground, lines_of, log_of


class Loops(Ground):
    """Loops that another attempt goes on with, files, and commands."""

    def test_a_loop_goes_on_with_the_item_that_failed(self, path: str) -> None:
        job = self.run(jobs.walk, path=path)
        assert (job.status, job.attempt, lines_of(path)) == ("done", 2, ["0", "1", "2", "2", "3", "4"])
        assert (job.progress, job.progress_text) == (100, "number 5 of 5")
        assert job.results_titles == ["Number"]
        values = job.results.order_by("number").values_list("cells", flat=True)
        assert [cells[0]["value"] for cells in values] == [0, 1, 2, 3, 4]

    def test_a_loop_in_transactions_does_those_again_that_were_rolled_back(self, path: str) -> None:
        job = self.run(jobs.walk_in_transactions, path=path)
        assert (job.status, job.attempt) == ("done", 2)
        assert lines_of(path) == ["0", "1", "2", "3", "2", "3", "4"]

    def test_a_loop_in_a_coroutine_goes_on_too(self, path: str) -> None:
        job = self.run(jobs.walk_in_a_coroutine, path=path)
        assert (job.status, job.attempt, lines_of(path)) == ("done", 2, ["0", "1", "2", "2", "3", "4"])

    def test_a_throttle_makes_a_loop_wait(self, path: str, gate: str) -> None:
        with self.begun(jobs.walk_slowly, path, gate=gate) as job:
            self.wait_until(lambda: type(job).objects.get(pk=job.pk).progress_text.startswith("Throttled:"))
            assert lines_of(path) == ["0"]
        assert self.ended(job).status == "done"
        assert lines_of(path) == ["0", "1"]

    def test_a_loop_is_paused_and_goes_on_behind_its_place(self, path: str, gate: str) -> None:
        with self.begun(jobs.walk_slowly, path, gate=gate) as job:
            self.wait_until(lambda: Job.objects.filter(pk=job.pk, checkpoint__isnull=False).exists())
            job.refresh_from_db()
            assert job.can_pause is self.backend.supports_pause
            if not self.backend.supports_pause:
                with pytest.raises(UnsupportedByBackend):
                    job.pause()
                return
            job.pause()
            self.wait_until(Job.objects.paused().filter(pk=job.pk).exists)
        assert lines_of(path) == ["0"]
        job.resume()
        assert self.ended(job).status == "done"
        assert (job.attempt, lines_of(path)) == (1, ["0", "1"])

    def test_a_file_that_a_job_adds_is_kept_and_a_cell_links_to_it(self) -> None:
        job = self.run(jobs.add_files)
        assert job.status == "done"
        (added,) = job.files.all()
        with files.fetch(added.kept) as file:
            assert (added.name, file.read(), added.attempt) == ("list.csv", b"a;b\n", 1)
        assert job.results.get().cells[0] == {"value": "list.csv", "error": "", "file": added.token}

    def test_a_command_prints_into_the_log(self) -> None:
        job = self.run(jobs.show_migrations, app_label=["qorworker"])
        assert job.status == "done"
        assert [line.text for line in log_of(job)] == ["qorworker", " [X] 0001_initial"]

    def test_a_command_that_fails_says_why(self) -> None:
        job = self.run(jobs.show_migrations, app_label=["nowhere"])
        assert (job.status, job.error) == ("exception", "The command ended with exit code 2.")
        assert [(line.text, line.level) for line in log_of(job)] == [
            ("No installed app with label 'nowhere'.", logging.WARNING)
        ]
