"""No template calls a verb, and a manager has none for all rows at once."""

import pytest
from django.template import Context, Template

from qorworker.models import Job, Schedule, Worker
from tests.models.rows import make_job

pytestmark = pytest.mark.django_db
MANY = ["retry", "cancel", "run_now", "abort", "rerun", "delete", "erase"]
ONE = ["cancel", "reschedule", "run_now", "abort", "mark_failed", "retry", "rerun", "update"]


@pytest.mark.parametrize("verb", MANY)
def test_a_verb_of_many_jobs_is_neither_for_templates_nor_for_managers(verb):
    assert getattr(Job.objects.all(), verb).alters_data
    assert not hasattr(Job.objects, verb)


@pytest.mark.parametrize("verb", [*ONE, *(f"a{verb}" for verb in ONE), "delete", "adelete", "discard_uploads"])
def test_a_verb_of_a_job_is_not_for_templates(verb):
    assert getattr(Job, verb).alters_data


@pytest.mark.parametrize("verb", ["change", "pause", "resume", "skip_next", "run_now", "remove", "delete"])
def test_a_verb_of_a_schedule_is_not_for_templates(verb):
    assert getattr(Schedule, verb).alters_data


@pytest.mark.parametrize("verb", ["pause", "resume", "drain"])
def test_a_verb_of_a_worker_is_not_for_templates(verb):
    assert getattr(Worker, verb).alters_data


def test_schedules_are_not_deleted_from_a_template_or_a_manager():
    assert Schedule.objects.all().delete.alters_data
    assert not hasattr(Schedule.objects, "delete")


def test_a_template_that_names_a_verb_changes_nothing_and_still_asks():
    job = make_job("new")
    shown = Template("{{ jobs.cancel }}{{ job.cancel }}{{ job.is_finished }}")
    assert shown.render(Context({"jobs": Job.objects.all(), "job": job})) == "False"
    assert not Job.objects.get().is_finished
