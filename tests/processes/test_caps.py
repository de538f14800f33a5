"""Limits on what is kept of a job's story."""

import pytest

from tests.support import ended, log_of
from tests.testapp import jobs

pytestmark = [pytest.mark.process, pytest.mark.once]


def test_what_is_beyond_a_cap_is_counted_and_not_kept(start):
    start(LOG_LINES=100, LOG_BYTES=2000, RESULTS_ROWS=10, LOG_LINE_CHARS=80, processes=1)
    lines = ended(jobs.flood.enqueue(lines=500))
    assert (lines.status, lines.log_lines, lines.log_dropped, lines.log.count()) == ("done", 100, 400, 100)
    long = ended(jobs.raw_output.enqueue(text=(b"z" * 79 + b"\n").hex(), times=50))
    assert (long.status, long.log_lines, long.log_dropped) == ("done", 26, 24)
    assert long.log_bytes == sum(map(len, log_of(long)))
    cut = ended(jobs.long_line.enqueue(length=81))
    assert log_of(cut) == ["x" * 79 + "…", "y" * 79 + "…"]
    rows = ended(jobs.results_flood.enqueue(count=20))
    assert (rows.status, rows.results_rows, rows.results.count()) == ("done", 10, 10)
    late_error = ended(jobs.results_flood.enqueue(count=20, error_at=15))
    assert (late_error.status, late_error.error) == ("exception", "1 of 20 rows have errors.")


def test_an_attempt_after_the_cap_was_reached_keeps_counting(start):
    start(LOG_LINES=1, processes=1)
    job = ended(jobs.tells_of_attempts.enqueue())
    job.retry()
    job = ended(job)
    assert (job.attempt, job.log_lines, job.log_dropped) == (2, 1, 1)
    assert log_of(job) == ["in attempt 1"]
