"""Rehearsals in workers: nothing is written but what the worker itself writes."""

from pathlib import Path

import pytest

from qorworker.models import Job
from tests.support import ended, log_of
from tests.testapp import rehearsing
from tests.testapp.models import Shop

pytestmark = pytest.mark.process


@pytest.fixture
def shops(worker):
    return [Shop.objects.create(name=name) for name in ("Berlin", "Bonn")]


def names():
    return sorted(Shop.objects.values_list("name", flat=True))


def test_it_reports_all_and_changes_nothing(worker, shops, tmp_path):
    ledger = tmp_path / "ledger"
    job = ended(rehearsing.rename_shops.using(dry_run=True).enqueue(ledger=str(ledger)))

    assert (job.status, job.error, job.result, log_of(job)) == ("done", "", 2, ["renamed"])
    assert names() == ["Berlin", "Bonn"]
    assert job.rehearsal.counts == {"testapp.Shop": {"created": 0, "changed": 3, "deleted": 0}}
    (sample,) = job.rehearsal.samples["testapp.Shop"]
    assert (sample.before, sample.after) == ({"name": "Berlin"}, {"name": "first"})
    assert (job.rehearsal.mails_count, job.rehearsal.hooks) == (1, 1)
    assert [row.cells[0]["value"] for row in job.results.all()] == [True]


def test_its_run_for_real_changes_everything_in_another_process(worker, shops, tmp_path):
    ledger = tmp_path / "ledger"
    job = ended(rehearsing.rename_shops.using(dry_run=True).enqueue(ledger=str(ledger)))
    real = ended(job.run_for_real())

    assert (real.status, real.error, real.rehearsal) == ("done", "", None)
    assert names() == ["all", "all"]
    ran = [line.split() for line in ledger.read_text().splitlines() if line.startswith("ran")]
    assert [is_dry_run for _ran, _pid, is_dry_run in ran] == ["True", "False"]
    assert ran[0][1] != ran[1][1]
    assert "committed" in ledger.read_text()


def test_a_coroutine(worker, shops):
    job = ended(rehearsing.rename_shops_in_a_coroutine.using(dry_run=True).enqueue())

    assert (job.status, job.error) == ("done", "")
    assert job.rehearsal.counts == {"testapp.Shop": {"created": 1, "changed": 2, "deleted": 0}}
    assert names() == ["Berlin", "Bonn"]


def test_a_thread_that_goes_on_writes_nothing(worker, shops):
    ended(rehearsing.leave_a_thread.using(dry_run=True).enqueue())
    after = ended(rehearsing.rename_shops_in_a_coroutine.using(dry_run=True).enqueue())

    assert after.status == "done"
    assert names() == ["Berlin", "Bonn"]


def test_a_crash_writes_nothing(worker, shops):
    job = ended(rehearsing.crash_in_the_middle.using(dry_run=True).enqueue())

    assert (job.status, job.rehearsal) == ("exception", None)
    assert names() == ["Berlin", "Bonn"]


def test_a_type_that_allows_it_no_more_is_not_run(worker, shops, tmp_path):
    ledger = tmp_path / "ledger"
    job = rehearsing.rename_shops.using(dry_run=True, run_after=None).enqueue(ledger=str(ledger))
    other = Job.objects.create(
        name="testapp.noop", is_dry_run=True, arguments={}, run_after=job.run_after, enqueued_at=job.enqueued_at
    )

    assert ended(other).error == "Here this job cannot be rehearsed. It was not started."
    assert ended(job).status == "done"
    assert not Path(ledger).read_text().count("False")
