import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.utils import timezone

from qorworker.models import DatabaseNow, Job, database_now
from qorworker.models.clock import now_sql
from qorworker.models.sql import claim
from tests.models.rows import leaving, make_job, wanted, written

pytestmark = pytest.mark.django_db
TOLERANCE = timedelta(seconds=2)  # the database runs on the same machine as these tests
ZONES = ("UTC", "Asia/Kathmandu", "America/St_Johns", "Pacific/Kiritimati")


def close_to(moment, **interval):
    return abs(moment - (datetime.now(UTC) + timedelta(**interval))) < TOLERANCE


@pytest.fixture(params=["+00:00", "-05:30", "+13:00"])
def session_zone(request):
    """A session whose zone is not UTC, as the servers of many MariaDB installations have it."""
    statement = {"mysql": "SET time_zone = %s", "postgresql": "SET TIME ZONE %s"}[connection.vendor]
    zone = request.param
    with connection.cursor() as cursor:
        cursor.execute(statement, [zone.replace("+", "-") if connection.vendor == "postgresql" else zone])
    yield zone
    connection.close()


class TestDatabaseNow:
    def test_it_is_now(self):
        assert close_to(database_now("default"))
        job = make_job("scheduled")
        Job.objects.update(run_after=DatabaseNow())
        job.refresh_from_db()
        assert close_to(job.run_after)

    @pytest.mark.parametrize("seconds", [15, 0.25, -20.0, 86400 * 400, 1e-05])
    def test_it_adds_seconds(self, seconds):
        job = make_job("scheduled")
        Job.objects.update(run_after=DatabaseNow(seconds))
        job.refresh_from_db()
        assert close_to(job.run_after, seconds=seconds)

    def test_it_can_be_compared_with_times_that_django_stored(self):
        now = timezone.now()
        past, future = (make_job(run_after=now + timedelta(seconds=gap)) for gap in (-3, 3))
        assert Job.objects.filter(run_after__lte=DatabaseNow()).get() == past
        assert Job.objects.filter(run_after__gt=DatabaseNow()).get() == future
        assert Job.objects.filter(run_after__gt=DatabaseNow(10)).count() == 0

    if connection.vendor == "sqlite":

        def test_it_has_as_many_digits_as_times_that_django_stored(self):
            """They are compared as texts: with fewer, it would be before a time of the same millisecond."""
            make_job(run_after=timezone.now().replace(microsecond=1000))
            now, later = now_sql(connection), now_sql(connection, "0.25")
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT LENGTH(run_after), LENGTH({now}), LENGTH({later}) FROM qorworker_job", ())
                [lengths] = cursor.fetchall()
            assert set(lengths) == {26}

    def test_it_never_goes_back(self):
        times = [database_now("default") for _ in range(20)]
        assert times == sorted(times)

    @pytest.mark.only_on("postgresql", "mysql")  # SQLite has no zone
    def test_a_session_that_is_not_in_utc_does_not_matter(self, session_zone):
        assert close_to(Job(run_after=database_now("default")).run_after)
        make_job()
        claim("default", wanted(lease=30.0))
        job = Job.objects.get()
        assert close_to(job.last_attempted_at)
        assert close_to(job.lease_expires_at, seconds=30)
        written(leaving(job, "scheduled", delay=3600.0))
        job.refresh_from_db()
        assert close_to(job.run_after, hours=1)


@pytest.mark.only_on("sqlite", "mysql")  # PostgreSQL stores instants
@pytest.mark.parametrize("zone", ZONES)
def test_a_connection_that_stores_another_zone_than_utc_is_followed(zone, monkeypatch):
    monkeypatch.setattr(connection, "timezone", ZoneInfo(zone))
    assert close_to(database_now("default"))
    make_job("scheduled", run_after=timezone.now() + timedelta(seconds=60))
    assert Job.objects.promote_due() == 0
    Job.objects.update(run_after=timezone.now() - timedelta(seconds=60))
    assert Job.objects.promote_due() == 1
    claim("default", wanted(lease=30.0))
    assert close_to(Job.objects.get().lease_expires_at, seconds=30)


WITHOUT_ZONES = """
import django; django.setup()
from datetime import datetime, timedelta
from django.db import transaction
from django.conf import settings
from qorworker.models import Job, database_now
from qorworker.models.sql import claim
from tests.models.rows import leaving, make_job, wanted, written
assert not settings.USE_TZ
def close_to(moment, **interval):
    assert moment.tzinfo is None, moment
    assert abs(moment - (datetime.now() + timedelta(**interval))) < timedelta(seconds=2), (moment, datetime.now())
with transaction.atomic():
    close_to(database_now("default"))
    make_job("scheduled", run_after=datetime.now() + timedelta(seconds=60))
    assert Job.objects.promote_due() == 0
    Job.objects.get().reschedule(datetime.now() - timedelta(seconds=60))
    (claimed,) = claim("default", wanted(lease=30.0))
    job = Job.objects.get()
    close_to(job.last_attempted_at)
    close_to(job.lease_expires_at, seconds=30)
    assert Job.objects.expired_leases() == {} and not job.not_responding
    Job.objects.renew({job.pk: job.attempt_token}, -30)
    assert set(Job.objects.expired_leases()) == {job.pk}
    written(leaving(job, "scheduled", delay=3600.0))
    close_to(Job.objects.get().run_after, hours=1)
    transaction.set_rollback(True)
print("all well")
"""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("process_zone", ["UTC", "Pacific/Auckland"])
def test_a_project_without_time_zones_gets_its_local_time(process_zone):
    environment = os.environ | {
        "QORWORKER_TEST_RUNNING_DATABASE": str(connection.settings_dict["NAME"]),
        "QORWORKER_TEST_USE_TZ": "0",
        "TZ": process_zone,
    }
    run = subprocess.run([sys.executable, "-c", WITHOUT_ZONES], env=environment, capture_output=True, text=True)
    assert run.stdout == "all well\n", run.stderr
