"""Jobs on real Celery workers, with Redis and with RabbitMQ: the contract, lost and doubled messages, lost workers."""

import datetime as dt
import os
import secrets
import signal
import socket
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("celery", reason="the extra celery is not installed")

from celery.concurrency import get_implementation
from django.db import OperationalError

from qorworker import At, Schedule
from qorworker.actions.notify import hand_over
from qorworker.backends.celery.tasks import EAGER_PAUSES, run_job
from qorworker.backends.celery.worker import said_to_be_prefork
from qorworker.maintenance.run_once import run_once
from qorworker.models import Job, JobQuerySet, Worker
from qorworker.queues import backend_of
from qorworker.testing import jobs
from qorworker.testing.backends import BackendContract, lines_of
from tests.backends.celery_app import app_on
from tests.backends.processes import celery_process, end_all
from tests.support import alive, ended, recorded_transitions, wait_until

pytestmark = [pytest.mark.process, pytest.mark.only_on("sqlite", "postgresql")]

BROKERS = {
    "redis": os.environ.get("QORWORKER_TEST_REDIS", "redis://127.0.0.1:6379/9"),
    "rabbitmq": os.environ.get("QORWORKER_TEST_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672//"),
}
QUEUE = f"qorworker-test-{secrets.token_hex(4)}"


def queues(pool="prefork"):
    local = {"BACKEND": "qorworker.backends.local.LocalBackend"}
    options = {"CELERY_QUEUE": QUEUE, "POOL": pool}
    return {"default": local, "celery": {"BACKEND": "qorworker.backends.celery.CeleryBackend", "OPTIONS": options}}


def missing(broker):
    """Why there can be no tests with this broker; empty if there can."""
    address = BROKERS[broker].rpartition("@")[2].rpartition("//")[2] if broker == "redis" else ""
    host, port = ("127.0.0.1", 5672) if broker == "rabbitmq" else address.partition("/")[0].split(":")
    try:
        socket.create_connection((host, int(port)), 2).close()
    except OSError as error:
        return f"no {broker} at {host}:{port}: {error}"
    return ""


@contextmanager
def celery_worker(folder, broker, pool="prefork", beat=True, **settings):
    """A ``celery worker`` on the database of the test."""
    more = {"settings": "tests.backends.celery_settings", "qorworker": settings}
    with celery_process(folder, BROKERS[broker], QUEUE, queues=queues(pool), pool=pool, beat=beat, **more) as worker:
        wait_until(lambda: "ready." in worker.log.read_text(), 60, worker.log.read_text)
        yield worker


@pytest.mark.parametrize(
    ("said", "used", "wrong"),
    [
        ("prefork", "prefork", []),
        ("prefork", "threads", ["celery"]),
        ("prefork", "solo", ["celery"]),
        ("solo", "solo", []),
    ],
)
def test_a_worker_finds_the_queues_whose_pool_is_another_than_their_options_say(settings, said, used, wrong):
    settings.QORWORKER = {"QUEUES": queues(said)}
    assert said_to_be_prefork(["celery"], get_implementation(used)) == wrong


@contextmanager
def connected(broker):
    """This process as one that enqueues: with an app of the broker."""
    app = app_on(BROKERS[broker], QUEUE)
    app.set_current()
    app.set_default()
    try:
        yield app
    finally:
        app.close()


@pytest.fixture(scope="module", autouse=True)
def tidy_brokers():
    """Nothing of these tests stays with a broker."""
    yield
    if not missing("rabbitmq"):
        with app_on(BROKERS["rabbitmq"], QUEUE).connection() as connection:
            connection.default_channel.queue_delete(QUEUE)
    if not missing("redis"):
        from redis import Redis

        with Redis.from_url(BROKERS["redis"]) as client:
            client.delete(*client.scan_iter(f"{QUEUE}*"), QUEUE)


class OnCelery(BackendContract):
    """What is the same for every pool and broker."""

    queue_name = "celery"
    broker = pool = ""

    @pytest.fixture(scope="class")
    @classmethod
    def worker(cls, open_database, tmp_path_factory):
        folder, quick = tmp_path_factory.mktemp("celery"), {"ABORT_GRACE": 1, "LEASE": 4, "OBSERVATION": 1}
        with connected(cls.broker) as app, celery_worker(folder, cls.broker, cls.pool, **quick) as worker:
            worker.app = app
            yield worker

    @pytest.fixture
    def running(self, worker, transactional_db, settings):
        settings.QORWORKER = {"QUEUES": queues(self.pool)}
        worker.app.set_current()
        yield
        assert worker.poll() is None, worker.log.read_text()

    def test_a_message_that_comes_again_runs_nothing(self, path):
        job = self.run(jobs.write, path=path)
        self.backend.jobs_ready([job])
        run_job.delay(job.pk, "default")
        self.run(jobs.write, path=path)
        assert len(lines_of(path)) == 2

    def test_a_message_that_comes_while_the_job_runs_runs_nothing(self, path, gate):
        with self.begun(jobs.wait, path, gate=gate) as job:
            self.backend.jobs_ready([job])
            self.run(jobs.story)
            assert len(lines_of(path)) == 1
        assert self.ended(job).status == "done"
        assert job.attempts.count() == 1


@pytest.mark.skipif(bool(missing("redis")), reason=missing("redis") or "never")
class TestPreforkOnRedis(OnCelery):
    broker, pool = "redis", "prefork"

    def test_a_lost_message_is_sent_again(self, path):
        job = Job(name=jobs.write.name, queue_name="celery", arguments={"path": path})
        Job.objects.enqueue_rows([job])  # as if the process had died before it told Celery
        assert self.ended(job).status == "done"

    def test_a_schedule_fires_without_a_runworker(self, path):
        schedule = Schedule.objects.create_for(jobs.write, At(dt.datetime(2020, 1, 1, tzinfo=dt.UTC)), {"path": path})
        assert wait_until(lambda: Job.objects.filter(schedule=schedule).first()).status == "new"
        assert schedule.slots.get().outcome == "fired"

    def test_the_job_of_a_killed_child_is_settled_at_once(self, path, gate):
        with self.begun(jobs.wait, path, gate=gate) as job, recorded_transitions() as transitions:
            Job.objects.filter(pk=job.pk).update(lease_expires_at=job.lease_expires_at + dt.timedelta(hours=1))
            os.kill(job.process_id, signal.SIGKILL)
            assert self.ended(job).status == "exception"
            assert job.error == "The process ended unexpectedly: Worker exited prematurely: signal 9 (SIGKILL)."
            assert [(one.outcome, one.worker_name) for one in job.attempts.all()] == [("crashed", job.worker.name)]
            assert transitions.of(job) == ["exception"]
        assert self.run(jobs.story).status == "done"

    def test_a_killed_child_is_followed_by_another_attempt(self, path, gate):
        with recorded_transitions() as transitions:
            job = self.here(jobs.killed_once).enqueue(path=path)
            assert self.ended(job).status == "done"
            assert [line.split()[0] for line in lines_of(path)] == ["1", "2"]
            assert [one.outcome for one in job.attempts.order_by("number")] == ["crashed", "done"]
            assert transitions.of(job) == ["running", "scheduled", "new", "running", "done"]

    def test_a_child_that_celery_ends_hands_its_job_back(self, path, gate):
        with recorded_transitions() as transitions:
            job = self.here(jobs.wait_again).enqueue(path=path, gate=gate)
            self.wait_until(lambda: lines_of(path))
            job.refresh_from_db()
            os.kill(job.process_id, signal.SIGTERM)
            self.wait_until(lambda: len(lines_of(path)) == 2)
            Path(gate).touch()
            assert self.ended(job).status == "done"
            assert transitions.of(job) == ["running", "new", "running", "done"]

    def test_a_child_that_celery_ends_hands_a_loop_back_which_goes_on(self, path, gate):
        with self.begun(jobs.walk_slowly, path, gate=gate) as job:
            self.wait_until(lambda: Job.objects.get(pk=job.pk).progress_text.startswith("Throttled:"))
            job.refresh_from_db()
            os.kill(job.process_id, signal.SIGTERM)
            self.wait_until(job.attempts.exists)
            Path(gate).touch()
            assert self.ended(job).status == "done"
        assert [one.outcome for one in job.attempts.order_by("pk")] == ["suspended", "done"]
        assert (job.attempt, lines_of(path)) == (1, ["0", "1"])

    def test_a_handler_that_hears_nothing_at_all_is_ended(self, path, gate):
        with self.begun(jobs.stubborn, path, gate=gate) as job:
            job.abort()
            assert self.ended(job).status == "killed"
        assert self.run(jobs.story).status == "done"


@pytest.mark.skipif(bool(missing("redis")), reason=missing("redis") or "never")
def test_a_job_whose_worker_was_killed_is_settled_once(transactional_db, tmp_path, settings):
    settings.QORWORKER = {"QUEUES": queues(), "OBSERVATION": 1}
    path, gate = str(tmp_path / "told"), str(tmp_path / "gate")
    with connected("redis"), recorded_transitions() as transitions:
        with celery_worker(tmp_path, "redis", beat=False) as worker:
            once = jobs.wait.using(queue_name="celery").enqueue(path=path, gate=gate)
            again = jobs.wait_again.using(queue_name="celery").enqueue(path=path, gate=gate)
            wait_until(lambda: Path(path).exists() and len(lines_of(path)) == 2)
            end_all(worker)
        assert Worker.objects.get(process_id=worker.pid).kind == "celery"
        run_once("default")
        assert ended(once).status == "exception"
        assert "ended without finishing this job" in once.error
        Path(gate).touch()
        with celery_worker(tmp_path, "redis"):
            assert ended(again).status == "done"
        assert (transitions.ends()[once.pk], transitions.ends()[again.pk]) == (1, 1)
    assert len([line for line in lines_of(path) if "begun" in line]) == 3


@pytest.mark.only_on("postgresql", "mysql")
@pytest.mark.skipif(bool(missing("redis")), reason=missing("redis") or "never")
def test_a_job_that_others_may_take_is_ended_although_the_database_does_not_answer(
    transactional_db, tmp_path, settings, proxy, monkeypatch
):
    settings.QORWORKER = {"QUEUES": queues()}
    for server in ("POSTGRESQL", "MARIADB"):
        monkeypatch.setenv(f"QORWORKER_{server}_PORT", str(proxy.port))
    path, gate = str(tmp_path / "told"), str(tmp_path / "gate")
    with connected("redis"), celery_worker(tmp_path, "redis", beat=False, LEASE=4):
        jobs.wait_again.using(queue_name="celery").enqueue(path=path, gate=gate)
        wait_until(lambda: Path(path).exists() and lines_of(path))
        proxy.silence()
        pid = int(lines_of(path)[0].split()[-1])
        wait_until(lambda: not alive(pid))


@pytest.mark.only_on("sqlite")  # about the other broker and the other kind of pool
@pytest.mark.skipif(bool(missing("rabbitmq")), reason=missing("rabbitmq") or "never")
class TestThreadsOnRabbitMQ(OnCelery):
    """A pool of threads: what cannot be done there is said to be so."""

    broker, pool = "rabbitmq", "threads"


def test_a_broker_that_is_down_loses_no_job(transactional_db, settings):
    settings.QORWORKER = {"QUEUES": queues()}
    app = app_on("redis://127.0.0.1:1/0", QUEUE)
    app.conf.broker_transport_options = {"max_retries": 0, "socket_connect_timeout": 1}
    app.set_current()
    job = jobs.story.using(queue_name="celery").enqueue()
    job.refresh_from_db()
    assert (job.status, job.handed_over_at) == ("new", None)
    app.close()


@pytest.mark.skipif(bool(missing("redis")), reason=missing("redis") or "never")
def test_what_was_handed_over_is_not_handed_over_again_at_once(transactional_db, settings):
    settings.QORWORKER = {"QUEUES": queues()}
    with connected("redis"):
        job = jobs.story.using(queue_name="celery").enqueue()
        job.refresh_from_db()
        assert job.handed_over_at is not None
        assert hand_over("default") == 0
        Job.objects.filter(pk=job.pk).update(
            handed_over_at=job.handed_over_at - 2 * (job.handed_over_at - job.run_after)
        )
        assert hand_over("default") == 1
        assert hand_over("default") == 0


@pytest.mark.skipif(bool(missing("redis")), reason=missing("redis") or "never")
def test_runworker_leaves_jobs_of_celery_to_celery_and_hands_them_over(start, settings):
    settings.QORWORKER = {"QUEUES": queues()}
    with connected("redis") as app:
        job = Job(name=jobs.story.name, queue_name="celery", arguments={})
        Job.objects.enqueue_rows([job])
        start(QUEUES=queues())
        assert ended(jobs.story.enqueue()).status == "done"
        job.refresh_from_db()
        assert (job.status, job.attempt) == ("new", 0)
        app.close()


@pytest.mark.django_db
def test_a_message_whose_job_the_database_did_not_give_out_comes_again(settings, monkeypatch):
    settings.QORWORKER = {"QUEUES": queues()}
    job, real, asked = Job(name=jobs.story.name, queue_name="celery", arguments={}), JobQuerySet.promote_due, []
    Job.objects.enqueue_rows([job])

    def out_of_order(rows, *given):
        asked.append(rows)
        if len(asked) < 3:
            raise OperationalError("server closed the connection unexpectedly")
        return real(rows, *given)

    monkeypatch.setattr(JobQuerySet, "promote_due", out_of_order)
    run_job.apply((job.pk, "default"))
    assert (len(asked), ended(job).status) == (3, "done")


@pytest.mark.django_db
def test_an_outage_is_waited_out_for_a_moment_only_where_tasks_run_at_once(settings, monkeypatch):
    settings.QORWORKER = {"QUEUES": queues()}
    job, pauses, asked = Job(name=jobs.story.name, queue_name="celery", arguments={}), [], []
    Job.objects.enqueue_rows([job])

    def out_of_order(rows, *given):
        asked.append(rows)
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(JobQuerySet, "promote_due", out_of_order)
    monkeypatch.setattr("qorworker.backends.celery.tasks.time.sleep", pauses.append)
    result = run_job.apply((job.pk, "default"))
    assert result.failed()
    assert pauses == list(EAGER_PAUSES)
    assert len(asked) == len(EAGER_PAUSES) + 1
    job.refresh_from_db()
    assert (job.status, job.attempt) == ("new", 0)


def test_flags_tell_what_the_pool_can_do(settings):
    for pool, kills in (("prefork", True), ("threads", False), ("solo", False), ("gevent", False)):
        settings.QORWORKER = {"QUEUES": queues(pool)}
        backend = backend_of("celery")
        assert (backend.supports_kill, backend.supports_limits, backend.supports_abort) == (kills, kills, True)
