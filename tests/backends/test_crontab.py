"""Jobs that cron runs: the contract with ticks one after another, the keeper, the checks, and a real cron."""

import datetime as dt
import json
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from django.db import connection
from django.test import override_settings

from qorworker import At, Schedule
from qorworker.backends import crontab
from qorworker.models import Job, Worker, database_now
from qorworker.queries.reasons import obstacles
from qorworker.queues import backend_of
from qorworker.testing import jobs
from qorworker.testing.backends import BackendContract
from tests.backends.processes import process
from tests.job_types import own_types  # noqa: F401
from tests.support import ROOT, alive, empty_tables, ended, environment, wait_until

pytestmark = pytest.mark.once
CRON = {"BACKEND": "qorworker.backends.crontab.CrontabBackend", "OPTIONS": {"PROCESSES": 2}}
FOREIGN = 'MAILTO=""\n# mine\n17 3 * * 1 /usr/bin/true # keep me\n'
QUEUES = {"default": {"BACKEND": "qorworker.backends.local.LocalBackend"}, "cron": CRON}
KEEPER = {**QUEUES, "cron": {**CRON, "OPTIONS": {"MODE": "keeper", "PROCESSES": 1}}}


def missing_cron() -> str:
    """Why no real cron can be started here; empty if it can."""
    for program in ("cron", "crontab", "unshare", "mount"):
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None:
            return f"there is no {program} here"
    if os.geteuid() != 0:
        return "only root can start a cron of its own"
    probe = subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/run"], capture_output=True)
    return "" if probe.returncode == 0 else "this process may not mount anything"


def ticking(folder, queues=QUEUES, **more):
    """Ticks one after another, more often than cron would."""
    return process(
        folder, "-m", "tests.backends.ticker", settings="tests.backends.cron_settings", queues=queues, **more
    )


@pytest.fixture
def settings_of_cron(settings, own_types):  # noqa: F811
    settings.QORWORKER = {"QUEUES": QUEUES}
    settings.CRONJOBS = [*crontab.CRONJOBS]
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django_crontab"]


# What pages and checks say.


def lacking():
    """What is in the way of a job in the queue of cron."""
    return " ".join(reason.text for reason in obstacles("cron", "contract.write"))


@pytest.mark.django_db
def test_pages_say_that_cron_is_silent(settings):
    settings.QORWORKER = {"QUEUES": QUEUES}
    assert lacking() == "Cron has not run yet for the queue “cron”."
    Worker.objects.tick("here", ["cron"])
    assert lacking() == ""
    assert Worker.objects.alive().count() == 0
    Worker.objects.update(ticked_at=database_now("default") - 7.4 * crontab.SILENT_AFTER / 3)
    assert lacking() == "Cron has not run for 7 minutes."
    Worker.objects.tick("here", ["cron"])
    assert (Worker.objects.count(), lacking()) == (1, "")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"CRONJOBS": []}, ["W031"]),
        ({"CRONTAB_LOCK_JOBS": True}, ["W032"]),
        ({"CRONJOBS": [*crontab.CRONJOBS, ("@daily", "shop.cron.daily")]}, ["W033"]),
        ({"CRONTAB_COMMAND_SUFFIX": ">> /tmp/log-$(date +%F)"}, ["W034"]),
        ({"CRONTAB_DJANGO_MANAGE_PATH": "/srv/my shop/manage.py"}, ["W035"]),
    ],
)
def test_checks_know_how_django_crontab_breaks(settings_of_cron, settings, changes, expected):
    with override_settings(**changes):
        assert [message.id for message in backend_of("cron").check()] == [f"qorworker.{id}" for id in expected]


def test_without_django_crontab_nothing_calls(settings):
    settings.QORWORKER = {"QUEUES": QUEUES}
    settings.CRONJOBS = [*crontab.CRONJOBS]
    assert [message.id for message in backend_of("cron").check()] == ["qorworker.W030"]


@pytest.mark.parametrize("options", [{"MODE": "often"}, {"PROCESSES": 0}, {"PROCESSES": "two"}])
def test_options_that_cannot_be(settings_of_cron, options):
    queues = {**QUEUES, "cron": {**CRON, "OPTIONS": options}}
    with override_settings(QORWORKER={"QUEUES": queues}):
        [message] = backend_of("cron").check()
    assert message.id in ("qorworker.E030", "qorworker.E031")


# A real cron takes up to a minute before it calls: it is started early, and looked at late.


@pytest.fixture(scope="module")
def real_cron(open_database, tmp_path_factory):
    """A folder in which a cron of its own tells what it does, on a copy of the database; None if there can be none."""
    if missing_cron() or connection.vendor != "sqlite":
        yield None
        return
    folder = tmp_path_factory.mktemp("real")
    with override_settings(QORWORKER={"QUEUES": QUEUES}):
        jobs.story.using(queue_name="cron").enqueue()
    with closing(sqlite3.connect(folder / "copy.sqlite3")) as copy:
        connection.connection.backup(copy)
    empty_tables()
    (folder / "foreign").write_text(FOREIGN)
    with (folder / "log").open("wb") as log:
        command, env = cron_command(folder)
        started = subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    yield folder
    print((folder / "log").read_text())
    started.kill()
    started.wait(10)


def cron_command(folder):
    """What starts it, and with which environment; that of its own children is in the line of its table."""
    env = {**environment(), "DJANGO_SETTINGS_MODULE": "tests.backends.cron_settings"}
    env["QORWORKER_TEST_RUNNING_DATABASE"] = str(folder / "copy.sqlite3")
    env["QORWORKER_TEST_SETTINGS"] = json.dumps({"QUEUES": QUEUES}, separators=(",", ":"))
    values = " ".join(f"{name}={shlex.quote(env[name])}" for name in sorted(env) if name.startswith("QORWORKER_"))
    env["QORWORKER_TEST_CRON_PREFIX"] = f"env {values} PYTHONPATH={ROOT}"
    env["PATH"] = f"{env['PATH']}:/usr/sbin"
    command = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-x"]
    return [*command, str(ROOT / "tests/backends/real_cron.sh"), str(folder), sys.executable, "manage.py"], env


# The keeper, and what a tick leaves to the next.


@pytest.mark.only_on("sqlite")
@pytest.mark.process
def test_a_keeper_starts_a_worker_and_a_new_one_for_one_that_is_gone(real_cron, transactional_db, tmp_path, settings):
    settings.QORWORKER = {"QUEUES": KEEPER}
    with ticking(tmp_path, queues=KEEPER, QORWORKER_TEST_TICK="4"):
        first = wait_until(lambda: Worker.objects.alive().first())
        assert first.queues == ["cron"]
        job = jobs.story.using(queue_name="cron").enqueue()
        assert ended(job).status == "done"
        os.kill(first.process_id, signal.SIGKILL)
        wait_until(lambda: not alive(first.process_id))
        Worker.objects.stop(first.pk)  # as it counts after a moment without a sign of life
        second = wait_until(lambda: Worker.objects.alive().others_than(first.pk).first())
        assert second.process_id != first.process_id, list(Worker.objects.values())
        assert ended(jobs.story.using(queue_name="cron").enqueue()).status == "done"


@pytest.mark.only_on("sqlite")
@pytest.mark.process
def test_ticks_fire_schedules_and_run_their_jobs_without_a_runworker(transactional_db, tmp_path, settings):
    queues = {"default": CRON}
    settings.QORWORKER = {"QUEUES": queues}
    path = str(tmp_path / "told")
    schedule = Schedule.objects.create_for(jobs.write, At(dt.datetime(2020, 1, 1, tzinfo=dt.UTC)), {"path": path})
    with ticking(tmp_path, queues=queues):
        assert ended(wait_until(lambda: Job.objects.filter(schedule=schedule).first())).status == "done"
    assert Job.objects.count() == 1


@pytest.mark.only_on("sqlite")
@pytest.mark.process
def test_a_job_of_another_queue_is_not_for_cron(transactional_db, tmp_path, settings):
    settings.QORWORKER = {"QUEUES": QUEUES}
    other = jobs.story.enqueue()
    with ticking(tmp_path):
        assert ended(jobs.story.using(queue_name="cron").enqueue()).status == "done"
    other.refresh_from_db()
    assert other.status == "new"


@pytest.mark.process
def test_a_tick_settles_what_a_dead_one_left(transactional_db, tmp_path, settings):
    settings.QORWORKER = {"QUEUES": QUEUES}
    path, gate = str(tmp_path / "told"), str(tmp_path / "gate")
    with ticking(tmp_path):
        job = jobs.wait.using(queue_name="cron").enqueue(path=path, gate=gate)
        wait_until(lambda: Path(path).exists())
    with ticking(tmp_path):
        assert ended(job).status == "exception"
    assert job.attempts.get().outcome == "lost"


# The contract. Its ticker runs until the module ends, so it comes late.


@pytest.fixture(scope="module")
def ticker(open_database, real_cron, tmp_path_factory):
    with ticking(tmp_path_factory.mktemp("cron")) as started:
        yield started


@pytest.mark.process
class TestCrontabBackend(BackendContract):
    queue_name = "cron"

    @pytest.fixture
    def running(self, ticker, transactional_db, settings):
        settings.QORWORKER = {"QUEUES": QUEUES}
        yield
        assert ticker.poll() is None


@pytest.mark.only_on("sqlite")
@pytest.mark.process
@pytest.mark.skipif(bool(missing_cron()), reason=missing_cron() or "never")
def test_a_real_cron_runs_a_job_and_leaves_foreign_lines_alone(real_cron):
    def said():
        return (real_cron / "log").read_text()

    def row(columns, table):
        with closing(sqlite3.connect(real_cron / "copy.sqlite3", timeout=20)) as copy:
            return copy.execute(f"SELECT {columns} FROM qorworker_{table}").fetchone()

    wait_until((real_cron / "checked").exists, 60, said)
    wait_until(lambda: row("status, COUNT(*)", "job") == ("done", 1), 130, said, every=0.2)
    assert row("COUNT(ticked_at)", "worker") == (1,)
    (real_cron / "stop").touch()
    wait_until((real_cron / "over").exists, 60, said)
    texts = {path.name: path.read_text() for path in real_cron.iterdir() if "sqlite3" not in path.name}
    assert texts["added"].startswith(FOREIGN)
    assert texts["added"].count("crontab run") == 1
    assert (texts["added-twice"], texts["removed"]) == (texts["added"], FOREIGN)
    assert "W036" not in texts["checked"]
    assert "qorworker.W036" in texts["checked-without"]
