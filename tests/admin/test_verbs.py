"""One view for all verbs: POST only, one click one job, and a right that is missing is named."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.urls import reverse

from qorworker.admin.batches.verbs import VERBS as OF_BATCHES
from qorworker.admin.jobs.verbs import RESCHEDULE
from qorworker.admin.jobs.verbs import VERBS as OF_JOBS
from qorworker.admin.queues.verbs import VERBS as OF_QUEUES
from qorworker.admin.schedules.verbs import VERBS as OF_SCHEDULES
from qorworker.admin.verbs import Verb, reason_in
from qorworker.admin.workers.verbs import VERBS as OF_WORKERS
from qorworker.permissions import PERMISSIONS
from tests.admin.support import user_with

pytestmark = [pytest.mark.django_db, pytest.mark.once]
EVERY = [
    *(("job", verb) for verb in (*OF_JOBS.values(), RESCHEDULE)),
    *(("schedule", verb) for verb in OF_SCHEDULES.values()),
    *(("worker", verb) for verb in OF_WORKERS),
    *(("queue", verb) for verb in OF_QUEUES),
    *(("batch", verb) for verb in OF_BATCHES),
]
each = pytest.mark.parametrize(("kind", "verb"), EVERY, ids=lambda value: getattr(value, "name", value))


@each
def test_every_verb_has_an_address_that_only_takes_posts(types, visitor, kind, verb):
    args = () if kind == "queue" else (7,)
    url = reverse(f"admin:qorworker_{kind}_{verb.key}", args=args)
    assert url.endswith(f"/{verb.name}/")
    answer = visitor.get(url)
    assert (answer.status_code, answer["Allow"]) == (405, "POST")
    assert visitor.post(url).status_code == 404


@each
def test_every_verb_needs_rights_that_there_are(kind, verb):
    assert verb.needs
    assert set(verb.needs) <= {*PERMISSIONS, "approve"}  # of which each job type names its own


def test_the_first_right_that_is_missing_is_named(types):
    verb = Verb(name="x", needs=("retry", "abort"), perform=lambda *given: None)
    nothing, half, both = (
        user_with(*rights, name=f"user-{len(rights)}")
        for rights in ((), ("qorworker.retry_job",), ("qorworker.retry_job", "qorworker.abort_job"))
    )
    assert [verb.lacking(user, types["open"]) for user in (nothing, half, both)] == ["retry", "abort", ""]


def test_a_reason_is_one_line_that_fits():
    assert reason_in(" two\n lines\x00 ") == "two lines␀"
    assert len(reason_in("x" * 500)) == 200


def test_the_admin_registers_each_kind():
    kinds = {model._meta.model_name for model in admin.site._registry if model._meta.app_label == "qorworker"}
    without_verbs = {"message", "messagerule", "calendar"}  # whose buttons belong to their own pages
    assert {kind for kind, _verb in EVERY} | without_verbs == kinds
