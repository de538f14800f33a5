from datetime import timedelta

import pytest

from qorworker.models import Job, Worker, database_now
from qorworker.models.worker import SILENT_AFTER
from tests.models.rows import make_job

pytestmark = pytest.mark.django_db


def start(**fields):
    defaults = {"name": "w@host", "host": "host", "process_id": 12, "version": "1", "slots": 2, "queues": ["default"]}
    return Worker.objects.start(**(defaults | fields))


def test_a_worker_that_starts_is_alive_by_the_databases_clock():
    before = database_now("default")
    worker = start()
    assert before <= worker.started_at <= worker.heartbeat_at <= database_now("default")
    assert list(Worker.objects.alive()) == [worker]


def test_a_worker_without_a_sign_of_life_counts_as_gone_until_the_next():
    worker = start()
    silent = timedelta(seconds=SILENT_AFTER + 1)
    Worker.objects.update(heartbeat_at=database_now("default") - silent)
    assert not Worker.objects.alive().exists()
    assert Worker.objects.not_stopped().get() == worker
    assert Worker.objects.beat(worker.pk, memory=5) is True
    assert Worker.objects.alive().get().memory == 5


def test_a_worker_that_stopped_is_over():
    worker = start()
    assert Worker.objects.stop(worker.pk) == 1
    worker.refresh_from_db()
    stopped_at = worker.stopped_at
    assert not Worker.objects.alive().exists()
    assert not Worker.objects.not_stopped().exists()
    assert Worker.objects.beat(worker.pk, memory=5) is False
    assert Worker.objects.stop(worker.pk) == 0
    worker.refresh_from_db()
    assert (worker.stopped_at, worker.memory) == (stopped_at, 0)


def test_a_worker_whose_row_is_gone_hears_it():
    assert Worker.objects.beat(987654321) is False


def test_process_ids_mean_something_on_the_same_boot_in_the_same_namespace_only():
    here = start(boot_id="b", pid_namespace="n")
    start(boot_id="b", pid_namespace="other")
    start(boot_id="other", pid_namespace="n")
    start(boot_id="", pid_namespace="n")
    assert list(Worker.objects.of_machine("b", "n")) == [here]
    assert list(Worker.objects.of_machine("", "n")) == []


def test_the_jobs_of_a_worker_are_those_that_it_runs_and_survive_its_row():
    worker = start()
    running = make_job("running", worker_id=worker.pk)
    make_job("running", worker_id=worker.pk + 1)
    ended = make_job("done", worker_id=worker.pk)
    assert list(Job.objects.of_worker(worker.pk)) == [running]
    worker.delete()
    ended.refresh_from_db()
    assert ended.worker is None
