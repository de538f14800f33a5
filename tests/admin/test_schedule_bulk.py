"""Many schedules at once: counted first, asked, then done, with an honest account of what was left alone."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from django.urls import reverse

from qorworker import Every, Schedule
from qorworker.models import AuditEntry, Job
from tests.admin.support import messages_of, superuser, text_of, user_with

pytestmark = pytest.mark.django_db

MANAGE = ("qorworker.view_job", "qorworker.run_job", "qorworker.manage_schedule")
LIST = reverse("admin:qorworker_schedule_changelist")
CONFIRMED = {"confirmed": "1"}


@pytest.fixture
def boss(client):
    client.force_login(superuser())
    return client


@pytest.fixture
def three(types):
    """One that waits, one that is paused, one that the code declares."""
    waits, paused, declared = (
        Schedule.objects.create_for(types["greet"], Every(minutes=15), {"subject": "Tea"}, name=name)
        for name in ("waits", "paused", "declared")
    )
    paused.pause(reason="holidays")
    Schedule.objects.filter(pk=declared.pk).update(declared_in_code=True)
    return waits, paused, declared


def choose(client, action, schedules, follow=True, **extra):
    chosen = [schedule.pk for schedule in schedules]
    return client.post(LIST, {"action": action, "_selected_action": chosen, **extra}, follow=follow)


def paused():
    return set(Schedule.objects.paused().values_list("name", flat=True))


@pytest.mark.parametrize(
    ("action", "lead", "left"),
    [
        ("run_now", "Run now 3 of 3.", []),
        ("pause", "Pause 2 of 3.", ["1 is “Paused” and will be left alone."]),
        ("resume", "Resume 1 of 3.", ["2 are “Active” and will be left alone."]),
        ("delete", "Delete 2 of 3.", ["1 is “From code” and will be left alone."]),
    ],
)
def test_what_fits_is_counted_before_anything_changes(boss, three, action, lead, left):
    page = choose(boss, action, three)
    assert page.context["lead"] == lead
    assert page.context["left"] == left
    assert (Schedule.objects.count(), paused(), Job.objects.count()) == (3, {"paused"}, 0)


def test_they_are_paused_with_a_reason_until_a_time(boss, three):
    page = choose(boss, "pause", three)
    assert 'name="qw-reason"' in text_of(page)
    form = {"qw-reason": "stocktaking", "qw-until_0": "2999-01-02", "qw-until_1": "09:00"}
    response = choose(boss, "pause", three, **CONFIRMED, **form)
    assert messages_of(response) == ["2 schedules are paused. 1 was left alone: Paused."]
    assert paused() == {"waits", "paused", "declared"}
    waits = Schedule.objects.get(name="waits")
    assert (waits.paused_reason, waits.paused_by.username, waits.paused_until.year) == ("stocktaking", "root", 2999)
    assert AuditEntry.objects.filter(action="pause schedule", user_name="root").count() == 2


def test_a_pause_that_is_over_before_it_begins_is_none(boss, three):
    form = {"qw-until_0": "2001-01-02", "qw-until_1": "09:00"}
    response = choose(boss, "pause", three[:1], **CONFIRMED, **form)
    assert messages_of(response) == ["Nothing was changed. 1 was left alone: A pause ends in the future.."]
    assert paused() == {"paused"}


def test_a_time_that_cannot_be_read_keeps_the_selection(boss, three):
    response = choose(boss, "pause", three, **CONFIRMED, **{"qw-until_0": "x", "qw-until_1": "09:00"})
    assert response.status_code == 422
    assert "Enter a valid date." in text_of(response)
    assert all(f'name="_selected_action" value="{schedule.pk}"' in text_of(response) for schedule in three)
    assert paused() == {"paused"}


def test_they_go_on(boss, three):
    assert messages_of(choose(boss, "resume", three, **CONFIRMED))[0].startswith("1 schedule was resumed. 2 were left")
    assert paused() == set()


def test_each_makes_a_job_now(boss, three):
    assert messages_of(choose(boss, "run_now", three, **CONFIRMED)) == ["3 jobs were queued."]
    assert set(Job.objects.values_list("schedule__name", flat=True)) == {"waits", "paused", "declared"}
    assert paused() == {"paused"}


def test_confirmed_twice_each_makes_one_job(boss, three):
    token = re.search(r'name="qw-token" value="([^"]+)"', text_of(choose(boss, "run_now", three)))[1]
    click = {**CONFIRMED, "qw-token": token}
    assert messages_of(choose(boss, "run_now", three, **click)) == ["3 jobs were queued."]
    assert messages_of(choose(boss, "run_now", three, **click)) == [
        "Nothing was changed. 3 were left alone: done before."
    ]
    assert Job.objects.count() == 3


def test_arguments_that_no_longer_fit_are_told(boss, three):
    Schedule.objects.filter(name="waits").update(arguments={"nonsense": 1})
    (message,) = messages_of(choose(boss, "run_now", three, **CONFIRMED))
    assert message.startswith("2 jobs were queued. 1 was left alone: ")
    assert Job.objects.count() == 2


def test_they_are_deleted_and_that_stays_on_record(boss, three):
    made = three[0].run_now()
    assert "Their jobs stay." in text_of(choose(boss, "delete", three))
    response = choose(boss, "delete", three, **CONFIRMED)
    assert messages_of(response) == ["2 schedules were deleted. 1 was left alone: From code."]
    assert Schedule.objects.get().name == "declared"
    assert Job.objects.filter(pk=made.pk).exists()
    assert AuditEntry.objects.filter(action="delete schedule", user_name="root").count() == 2


def test_one_that_was_deleted_meanwhile_is_told(boss, three):
    Schedule.objects.filter(name="waits").delete()
    (message,) = messages_of(choose(boss, "pause", [three[0], three[2]], **CONFIRMED))
    assert message == "1 schedule is paused. 1 was left alone: deleted meanwhile."


def test_who_may_not_manage_them_is_offered_nothing_and_refused(client, three):
    client.force_login(user_with("qorworker.view_job", "qorworker.run_job"))
    assert client.get(LIST).context["action_form"] is None
    for action in ("run_now", "pause", "delete"):
        choose(client, action, three[:1], **CONFIRMED)
    assert (Schedule.objects.count(), paused(), Job.objects.count()) == (3, {"paused"}, 0)
    assert AuditEntry.objects.filter(action="manage_schedule", outcome="denied", schedule_id=three[0].pk).count() == 1


def test_those_that_one_may_not_see_are_untouched(client, types, three):
    hidden = three[0]
    mine = Schedule.objects.create_for(types["by_name"], Every(minutes=15), name="mine")
    client.force_login(user_with("testapp.change_shop", "qorworker.manage_schedule"))
    choose(client, "pause", [hidden, mine], **CONFIRMED)
    assert paused() == {"paused", "mine"}
    choose(client, "resume", [mine], select_across="1", **CONFIRMED)
    assert paused() == {"paused"}


def test_what_is_no_number_names_no_schedule(boss, three):
    answer = boss.post(LIST, {"action": "delete", "_selected_action": "x", **CONFIRMED})
    assert answer.status_code == 400
    assert Schedule.objects.count() == 3


def test_django_s_own_deletion_is_not_offered(boss, three):
    offered = {name for name, _label in boss.get(LIST).context["action_form"].fields["action"].choices if name}
    assert offered == {"run_now", "resume", "pause", "delete"}
    boss.post(LIST, {"action": "delete_selected", "post": "yes", "_selected_action": [three[0].pk]})
    assert Schedule.objects.count() == 3
    assert three[0].next_slot > three[0].created_at - dt.timedelta(days=1)
