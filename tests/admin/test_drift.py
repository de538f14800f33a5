"""Arguments stored for the form of yesterday: explained where they are shown and where they are used again."""

from __future__ import annotations

import pytest

from qorworker.models import Job
from tests.admin.support import BASE, make_job, messages_of, page_of, text_of

pytestmark = [pytest.mark.django_db, pytest.mark.once]

YESTERDAY = {"subject": "Hello", "copies": "many", "country": "DE"}
TOLD = "The field “mode” is new. The field “country” no longer exists. The value of “copies” no longer fits."


@pytest.fixture
def job(types):
    return make_job(types["greet"], "exception", arguments=YESTERDAY, fingerprint="yesterday")


def test_the_page_of_the_job_and_the_form_to_run_it_again_say_what_changed(job, visitor):
    assert TOLD in text_of(visitor.get(page_of(job)))
    form = visitor.get(f"{BASE}run/tests.greet/?from={job.pk}")
    assert TOLD in text_of(form)
    assert form.context["filled"].values == {"subject": "Hello"}


def test_run_again_starts_nothing_and_leads_to_the_form(job, visitor):
    (told,) = messages_of(visitor.post(page_of(job, "run-again/"), {"confirmed": "1"}, follow=True))
    assert "country: This argument no longer exists." in told
    assert "Run again with changes" in told
    assert Job.objects.count() == 1


def test_a_form_that_only_looks_different_is_no_reason_for_a_word(types, visitor):
    job = make_job(
        types["greet"], "done", arguments={"subject": "Hello", "copies": 1, "mode": "plain"}, fingerprint="yesterday"
    )
    assert "is new" not in text_of(visitor.get(page_of(job)))
