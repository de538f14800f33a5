"""Approvals in the admin: the buttons, who has them, the tab of the list, and schedules."""

import re

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from qorworker import Every, job
from qorworker.models import Approval, AuditEntry, Job, Schedule
from tests.job_types import own_types  # noqa: F401

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_types"), pytest.mark.once]
RIGHT = "testapp.change_shop"
MAY_SEE = ("view_job", "view_job_arguments")
LIST = reverse("admin:qorworker_job_changelist")


@pytest.fixture
def people(django_user_model):
    def make(name, *codenames, **more):
        user = django_user_model.objects.create_user(name, is_staff=True, **more)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        return user

    return make


@pytest.fixture
def ann(people):
    """Asks for runs, and may approve those of others."""
    return people("ann", *MAY_SEE, "run_job", "abort_job", "change_shop", "manage_schedule", "view_schedule")


@pytest.fixture
def ben(people):
    """May see and approve."""
    return people("ben", *MAY_SEE, "change_shop", "view_schedule")


@pytest.fixture
def publish(own_types):  # noqa: F811
    @job(name="test.publish", title="Publish", approval=RIGHT)
    def publish(shop: str = "Berlin") -> None:
        pass

    return publish


def page_of(row):
    return reverse("admin:qorworker_job_change", args=[row.pk])


def decide(client, row, verb, **data):
    return client.post(reverse(f"admin:qorworker_job_{verb}", args=[row.pk]), data, follow=True)


def text(response):
    return response.content.decode()


def seen(page):
    found = re.search(r'name="qw-seen" value="(\d+)"', page)
    return found[1] if found else None


class TestPage:
    def test_another_user_finds_the_buttons_and_approves(self, client, publish, ann, ben):
        row = publish.using(user=ann).enqueue()
        client.force_login(ben)
        page = text(client.get(page_of(row)))
        assert "Waiting for approval" in page
        assert f"It waits for approval by a user with the permission “{RIGHT}”." in page
        after = text(decide(client, row, "approve", **{"qw-seen": seen(page)}))
        assert f"Publish #{row.pk} is approved." in after
        assert "ben approved it" in after
        row.refresh_from_db()
        assert row.status == "new"

    def test_whoever_asked_finds_no_buttons_and_cannot_by_address(self, client, publish, ann):
        row = publish.using(user=ann).enqueue()
        for is_superuser in (False, True):
            ann.is_superuser = is_superuser
            ann.save()
            client.force_login(ann)
            page = text(client.get(page_of(row)))
            assert seen(page) is None
            for verb in ("approve", "decline"):
                response = decide(client, row, verb, confirmed="1")
                assert response.status_code == 403
                assert "Another user than the one who asked for it must approve it." in text(response)
        row.refresh_from_db()
        assert row.awaits_approval
        assert AuditEntry.objects.filter(action="approve", outcome="denied").count() == 1

    def test_without_the_permission_there_are_no_buttons(self, client, publish, people):
        row = publish.enqueue()
        client.force_login(people("cem", *MAY_SEE))
        assert seen(text(client.get(page_of(row)))) is None
        response = decide(client, row, "approve")
        assert (response.status_code, f"permission “{RIGHT}”" in text(response)) == (403, True)

    def test_who_may_not_see_the_arguments_cannot_approve_them(self, client, publish, people):
        row = publish.enqueue()
        client.force_login(people("cem", "view_job", "change_shop"))
        assert seen(text(client.get(page_of(row)))) is None
        assert decide(client, row, "approve").status_code == 403

    def test_to_decline_asks_first_and_keeps_the_reason(self, client, publish, ben):
        row = publish.enqueue()
        client.force_login(ben)
        number = seen(text(client.get(page_of(row))))
        asked = text(decide(client, row, "decline", **{"qw-seen": number}))
        assert ("It is cancelled and never starts." in asked, seen(asked)) == (True, number)
        after = decide(client, row, "decline", confirmed="1", reason="Too early.", **{"qw-seen": number})
        assert "was declined and is cancelled" in text(after)
        assert "Too early." in text(after)
        row.refresh_from_db()
        assert (row.status, row.approvals.get().reason) == ("cancelled", "Too early.")

    def test_a_job_that_was_changed_since_is_not_approved(self, client, publish, ben):
        row = publish.enqueue()
        client.force_login(ben)
        number = seen(text(client.get(page_of(row))))
        row.update(shop="Rome")
        after = text(decide(client, row, "approve", **{"qw-seen": number}))
        assert "It has been changed since you saw it" in after
        row.refresh_from_db()
        assert row.awaits_approval

    def test_of_two_users_the_second_hears_that_it_is_late(self, client, publish, ben, people):
        row = publish.enqueue()
        row.approve(by=people("cem", "change_shop"))
        client.force_login(ben)
        after = text(decide(client, row, "approve"))
        assert "Nothing was changed." in after

    @pytest.mark.parametrize("number", ["x", "-1", "9" * 30, "٣"])
    def test_a_forged_number_approves_nothing(self, client, publish, ben, number):
        row = publish.enqueue()
        client.force_login(ben)
        Approval.objects.filter(job=row).update(state="void")
        assert decide(client, row, "approve", **{"qw-seen": number}).status_code in (200, 403)
        row.refresh_from_db()
        assert row.awaits_approval

    def test_run_now_is_not_offered_and_refused(self, client, publish, people):
        row = publish.enqueue()
        client.force_login(people("cem", *MAY_SEE, "reschedule_job"))
        assert "run-now" not in text(client.get(page_of(row)))
        after = text(client.post(reverse("admin:qorworker_job_run_now", args=[row.pk]), follow=True))
        assert "It waits for approval. Nothing was changed." in after

    def test_the_run_form_tells_that_it_waits(self, client, publish, ann):
        client.force_login(ann)
        url = reverse("admin:qorworker_job_run", args=["test.publish"])
        token = re.search(r'name="qw-token" value="([^"]+)"', text(client.get(url)))[1]
        after = text(client.post(url, {"shop": "Rome", "qw-when": "now", "qw-token": token}, follow=True))
        assert "It waits for approval by a user with the permission" in after
        assert Job.objects.get().awaits_approval

    def test_its_json_has_who_asked_and_who_decided(self, client, publish, ann, ben):
        row = publish.using(user=ann).enqueue()
        row.approve(by=ben)
        client.force_login(ben)
        data = client.get(reverse("admin:qorworker_job_json", args=[row.pk])).json()
        [approval] = data["approvals"]
        assert (approval["asked_by"], approval["decided_by"], approval["state"]) == ("ann", "ben", "approved")

    def test_the_live_page_learns_that_it_was_approved(self, client, publish, ben):
        row = publish.using(run_after=Every(hours=1).interval).enqueue()
        client.force_login(ben)
        url = reverse("admin:qorworker_job_live", args=[row.pk])
        before = client.get(url).json()["state"]
        row.approve(by=ben)
        assert client.get(url, before).json()["state"] != before


class TestList:
    def test_the_tab_has_the_jobs_that_wait_for_it(self, client, publish, ann, ben):
        row = publish.using(user=ann).enqueue(shop="Rome")
        client.force_login(ben)
        listed = text(client.get(LIST, {"tab": "awaiting"}))
        assert (RIGHT in listed, "Rome" in listed, f"/{row.pk}/change/" in listed) == (True, True, True)
        row.approve(by=ben)
        assert "No job waits for approval." in text(client.get(LIST, {"tab": "awaiting"}))

    def test_many_are_approved_except_ones_own(self, client, publish, ann, ben):
        mine, other = publish.using(user=ben).enqueue(), publish.using(user=ann).enqueue()
        client.force_login(ben)
        data = {"action": "approve", "_selected_action": [mine.pk, other.pk]}
        client.post(f"{LIST}?tab=awaiting", {**data, "confirmed": "1", "qw-go": "1"}, follow=True)
        mine.refresh_from_db()
        other.refresh_from_db()
        assert (mine.awaits_approval, other.status) == (True, "new")

    def test_one_that_has_changed_since_the_list_was_shown_is_left_alone(self, client, publish, ann, ben):
        row, same = publish.using(user=ann).enqueue(), publish.using(user=ann).enqueue()
        client.force_login(ben)
        asked = re.search(r'name="qw-asked" value="(\d+)"', text(client.get(LIST, {"tab": "awaiting"})))[1]
        row.update(shop="Rome", by=ann)
        data = {"action": "approve", "_selected_action": [row.pk, same.pk], "qw-asked": asked}
        question = text(client.post(f"{LIST}?tab=awaiting", data))
        assert f'name="qw-asked" value="{asked}"' in question
        after = client.post(f"{LIST}?tab=awaiting", {**data, "confirmed": "1"}, follow=True)
        row.refresh_from_db()
        same.refresh_from_db()
        assert (row.awaits_approval, same.status) == (True, "new")
        assert "1 job was approved. 1 was left alone: changed since you saw it." in text(after)
        assert 'name="qw-asked"' in text(client.get(LIST, {"tab": "all"}))
        same.approvals.all().delete()
        row.cancel()
        assert 'name="qw-asked"' not in text(client.get(LIST, {"tab": "all"}))

    def test_one_query_finds_the_requests_of_a_page(self, client, publish, ben):
        client.force_login(ben)
        counts = []
        for _number in range(3):
            publish.enqueue()
            with CaptureQueriesContext(connection) as queries:
                client.get(LIST, {"tab": "awaiting"})
            counts.append(len(queries))
        assert counts[1] == counts[2]


class TestSchedules:
    @pytest.fixture
    def schedule(self, publish, ann):
        return Schedule.objects.create_for(publish, Every(hours=1), {}, name="hourly", by=ann)

    def post(self, client, schedule, verb, **data):
        return client.post(reverse(f"admin:qorworker_schedule_{verb}", args=[schedule.pk]), data, follow=True)

    def test_another_user_approves_it(self, client, schedule, ben):
        client.force_login(ben)
        page = text(client.get(reverse("admin:qorworker_schedule_change", args=[schedule.pk])))
        assert f"It makes no jobs until a user with the permission “{RIGHT}” has approved it." in page
        assert "ann asked for it" in page
        after = text(self.post(client, schedule, "approve", **{"qw-seen": seen(page)}))
        assert "It is approved: it makes its jobs from now on." in after
        assert "ben" in after
        assert schedule.approvals.get().state == "approved"

    def test_its_maker_does_not(self, client, schedule, ann):
        client.force_login(ann)
        page = text(client.get(reverse("admin:qorworker_schedule_change", args=[schedule.pk])))
        assert (RIGHT in page, seen(page)) == (True, None)
        assert self.post(client, schedule, "approve").status_code == 403
        assert schedule.approvals.get().state == "open"

    def test_declined_it_says_so(self, client, schedule, ben):
        client.force_login(ben)
        assert "Decline the schedule “hourly”?" in text(self.post(client, schedule, "decline"))
        after = text(self.post(client, schedule, "decline", reason="Not at night.", confirmed="1"))
        assert "It was declined: it makes no jobs until it is changed and approved." in after
        assert "Not at night." in after
