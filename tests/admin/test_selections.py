"""The action that runs a job for chosen rows of a list: what the form shows, what is stored, who may."""

import re

import pytest
from django.contrib import admin
from django.contrib.messages.storage.fallback import FallbackStorage
from django.core.files.uploadedfile import UploadedFile
from django.urls import reverse

from qorworker import Selection, job, run_on_selection
from qorworker.admin.jobs import autocomplete
from qorworker.admin.jobs.chunks import Chunks
from qorworker.arguments.selection_field import SelectionField
from qorworker.definitions.registry import registry
from qorworker.exceptions import JobTypeError
from qorworker.models import Batch, Job
from tests.admin.support import BASE, page_of, text_of, user_with
from tests.testapp.models import Shop

pytestmark = pytest.mark.django_db
LIST = reverse("admin:testapp_shop_changelist")
RUN = BASE + "run/tests.close/"
NAMES = [f"Shop-{number:02}" for number in range(12)]


def close(shops: Selection[Shop], reason: str = "") -> None:
    """Closes shops."""


@pytest.fixture
def shops(types):
    return [Shop.objects.create(name=name) for name in NAMES]


@pytest.fixture(autouse=True)
def action(types, monkeypatch):
    close_shops = job(name="tests.close", title="Close shops", permission="testapp.change_shop")(close)
    monkeypatch.setattr(admin.site.get_model_admin(Shop), "actions", [run_on_selection(close_shops, argument="shops")])
    return "run_tests_close_shops"


def chosen(client, action, rows, query="", across=False):
    data = {"action": action, "_selected_action": [row.pk for row in rows], "select_across": "1" if across else "0"}
    return client.post(f"{LIST}?{query}", data)


def hidden(response):
    """What the form sends along."""
    text = text_of(response)
    return {
        name: found[1].replace("&quot;", '"')
        for name in ("shops", "qw-token")
        if (found := re.search(rf'name="{name}" value="([^"]*)"', text))
    }


def test_the_form_shows_the_marked_rows_and_the_job_gets_them(visitor, action, shops):
    response = chosen(visitor, action, shops[:11])
    text = text_of(response)
    assert "11 shops" in text
    assert "Shop-09" in text
    assert "Shop-10" not in text
    assert "and one more" in text
    assert f'action="{RUN}"' in text
    landed = visitor.post(RUN, {**hidden(response), "qw-when": "now"}, follow=True)
    made = Job.objects.get()
    assert landed.redirect_chain == [(page_of(made), 302)]
    assert made.arguments["shops"]["pks"] == [shop.pk for shop in shops[:11]]
    assert "11 shops" in text_of(landed)
    assert f"{LIST}?pk__in={','.join(str(shop.pk) for shop in shops[:11])}" in text_of(landed)


@pytest.mark.parametrize("keep", ["freeze", "follow"])
def test_a_whole_list_is_frozen_or_followed_as_the_user_chooses(visitor, root, action, shops, keep):
    response = chosen(visitor, action, shops[:1], query="q=Shop-0&o=1", across=True)
    assert "10 shops" in text_of(response)
    visitor.post(RUN, {**hidden(response), "shops-keep": keep, "qw-when": "now"})
    made = Job.objects.get()
    Shop.objects.create(name="Shop-0x")
    selection = registry.find("tests.close").arguments.load(made.arguments)["shops"]
    assert selection.is_frozen is (keep == "freeze")
    assert selection.count() == (10 if keep == "freeze" else 11)
    text = text_of(visitor.get(page_of(made)))
    assert ("10 shops" if keep == "freeze" else "The shops that match “q=Shop-0” when the job starts") in text


def test_a_list_that_has_changed_meanwhile_is_not_frozen_before_the_user_has_seen_it(visitor, action, shops):
    response = chosen(visitor, action, shops, across=True)
    shops[0].delete()
    again = visitor.post(RUN, {**hidden(response), "shops-keep": "freeze", "qw-when": "now"})
    assert "The list has 11 rows now; it had 12." in text_of(again)
    assert not Job.objects.exists()
    visitor.post(RUN, {**hidden(again), "shops-keep": "freeze", "qw-when": "now"})
    assert len(Job.objects.get().arguments["shops"]["pks"]) == 11


def test_rows_that_the_list_does_not_show_to_the_user_are_refused(client, action, shops, monkeypatch):
    limited = user_with("testapp.change_shop", "testapp.view_shop", "qorworker.view_job")
    seen = Shop.objects.filter(pk=shops[0].pk)
    monkeypatch.setattr(admin.site.get_model_admin(Shop), "get_queryset", lambda request: seen)
    client.force_login(limited)
    token = hidden(client.get(RUN))["qw-token"]
    response = client.post(
        RUN, {"shops": f'{{"pks": [{shops[0].pk}, {shops[1].pk}]}}', "qw-token": token, "qw-when": "now"}
    )
    assert f"does not exist, or you may not see it: {shops[1].pk}." in text_of(response)
    assert "Shop-01" not in text_of(response)
    assert not Job.objects.exists()
    client.post(RUN, {"shops": '{"query": "", "count": 1, "keep": "follow"}', "qw-token": token, "qw-when": "now"})
    selection = registry.find("tests.close").arguments.load(Job.objects.get().arguments)["shops"]
    assert [shop.name for shop in selection.queryset()] == ["Shop-00"]


def test_who_may_not_run_the_job_is_refused_with_a_page(client, action, shops):
    client.force_login(user_with("testapp.view_shop"))
    assert chosen(client, action, shops[:1]).status_code in (403, 404)
    assert not Job.objects.exists()


def test_a_form_without_a_selection_says_where_to_choose_one(visitor, shops):
    text = text_of(visitor.get(RUN))
    assert "Nothing is chosen." in text
    assert f'href="{LIST}"' in text
    response = visitor.post(RUN, {**hidden(visitor.get(RUN)), "qw-when": "now"})
    assert "Choose the rows in the list of shops." in text_of(response)


@pytest.mark.parametrize("sent", ["x", "[[", '{"query": "nonsense=1", "count": 1}', "9" * 400, '{"pks": ["\x00"]}'])
def test_nonsense_in_place_of_a_selection_is_an_error_of_the_field(visitor, shops, sent):
    response = visitor.post(RUN, {**hidden(visitor.get(RUN)), "shops": sent, "qw-when": "now"})
    assert response.status_code == 200
    assert "errorlist" in text_of(response)
    assert not Job.objects.exists()


def test_a_job_opened_again_in_its_form_keeps_its_selection(visitor, action, shops):
    visitor.post(RUN, {**hidden(chosen(visitor, action, shops[:2])), "qw-when": "now"})
    text = text_of(visitor.get(f"{RUN}?from={Job.objects.get().pk}"))
    assert "2 shops" in text


class TestChunks:
    @pytest.fixture
    def in_chunks(self, monkeypatch):
        """The action makes a batch of jobs for five rows each."""
        act = run_on_selection(registry.find("tests.close"), argument="shops", chunk=5)
        monkeypatch.setattr(admin.site.get_model_admin(Shop), "actions", [act])
        return "run_tests_close_shops_by_5"

    def start(self, visitor, response, **more):
        signed = re.search(r'name="qw-chunks" value="([^"]+)"', text_of(response))[1]
        data = {**hidden(response), "qw-chunks": signed, "qw-when": "now", "reason": "sold", **more}
        return visitor.post(RUN, data, follow=True)

    def test_a_batch_gets_a_job_for_each_of_them(self, visitor, root, in_chunks, shops):
        response = chosen(visitor, in_chunks, shops, across=True)
        text = text_of(response)
        assert "This starts a job for each 5 rows, all of them in one batch." in text
        assert "shops-keep" not in text
        landed = self.start(visitor, response)
        batch = Batch.objects.get()
        jobs = list(Job.objects.order_by("pk"))
        assert [job.arguments["shops"]["pks"] for job in jobs] == [
            [shop.pk for shop in shops[start : start + 5]] for start in (0, 5, 10)
        ]
        assert {(job.batch_id, job.created_by, job.arguments["reason"]) for job in jobs} == {(batch.pk, root, "sold")}
        assert landed.redirect_chain[-1][0].endswith(f"/batch/{batch.pk}/change/")
        assert "3 jobs are queued." in text_of(landed)

    def test_one_submit_that_arrives_twice_makes_one_batch(self, visitor, in_chunks, shops):
        response = chosen(visitor, in_chunks, shops)
        self.start(visitor, response)
        again = self.start(visitor, response)
        assert "already started" in text_of(again)
        assert Batch.objects.count() == 1

    def test_later_schedules_all_of_them(self, visitor, in_chunks, shops):
        response = chosen(visitor, in_chunks, shops)
        self.start(visitor, response, **{"qw-when": "later", "qw-at_0": "2099-01-01", "qw-at_1": "10:00"})
        assert {job.status for job in Job.objects.all()} == {"scheduled"}

    def test_more_rows_than_one_job_keeps_are_divided(self, visitor, in_chunks, shops, monkeypatch):
        monkeypatch.setattr(SelectionField, "most", 7)
        self.start(visitor, chosen(visitor, in_chunks, shops, across=True))
        assert Job.objects.count() == 3

    def test_a_size_that_was_not_signed_for_this_job_is_ignored(self, visitor, in_chunks, shops, types):
        response = chosen(visitor, in_chunks, shops)
        for text in ("x", Chunks("shops", 1).signed(types["greet"])):
            visitor.post(RUN, {**hidden(response), "qw-chunks": text, "qw-when": "now"})
        assert [len(job.arguments["shops"]["pks"]) for job in Job.objects.all()] == [12]

    @pytest.mark.parametrize("size", [0, -1, True, "5", 2.5])
    def test_a_size_that_is_no_number_of_rows_is_refused(self, size):
        with pytest.raises(JobTypeError, match="chunk must be a number of rows"):
            run_on_selection(registry.find("tests.close"), argument="shops", chunk=size)

    def test_one_list_may_have_the_action_with_and_without_chunks(self, action, monkeypatch):
        actions = [
            run_on_selection(registry.find("tests.close"), argument="shops", chunk=size) for size in (None, 5, 50)
        ]
        shop_admin = admin.site.get_model_admin(Shop)
        monkeypatch.setattr(type(shop_admin), "actions", actions, raising=False)
        assert [error.id for error in shop_admin.check()] == []

    def test_a_job_with_an_upload_is_refused(self):
        def read(shops: Selection[Shop], file: UploadedFile) -> None: ...

        with pytest.raises(JobTypeError, match="takes a file, 'file', which the jobs of several chunks cannot share"):
            run_on_selection(job(name="tests.read")(read), argument="shops", chunk=5)


def test_rows_of_a_model_without_a_list_come_from_code_only(visitor, shops, monkeypatch):
    site = admin.site
    monkeypatch.setattr(autocomplete, "all_sites", [site])
    model_admin = site._registry.pop(Shop)
    try:
        form = visitor.get(RUN)
        assert "Nothing is chosen, and you may not see the list of shops." in text_of(form)
        sent = {**hidden(form), "shops": f'{{"pks": [{shops[0].pk}]}}', "qw-when": "now"}
        assert "does not exist, or you may not see it" in text_of(visitor.post(RUN, sent))
        for keep in ("freeze", "follow"):
            sent["shops"] = f'{{"query": "", "count": 12, "keep": "{keep}"}}'
            assert "The admin has no list of shops any more." in text_of(visitor.post(RUN, sent))
    finally:
        site._registry[Shop] = model_admin
    assert not Job.objects.exists()


@pytest.mark.parametrize("marked", [{}, {"select_across": "1"}])
def test_a_list_of_another_database_says_so(rf, root, action, shops, marked):
    request = rf.post("/", marked)
    request.session, request.user = {}, root
    request._messages = FallbackStorage(request)
    act = run_on_selection(registry.find("tests.close"), argument="shops")
    assert act(admin.site.get_model_admin(Shop), request, Shop.objects.using("archive")) is None
    assert [str(message)[:42] for message in request._messages] == ["These shops are in the database “archive”, "[:42]]


def test_a_list_without_rows_is_refused(visitor, action, shops):
    response = chosen(visitor, action, shops, across=True)
    Shop.objects.all().delete()
    again = visitor.post(RUN, {**hidden(response), "shops-keep": "freeze", "qw-when": "now"})
    again = visitor.post(RUN, {**hidden(again), "shops-keep": "freeze", "qw-when": "now"})
    assert "The list has no rows with these filters." in text_of(again)


def test_an_action_for_an_argument_that_is_no_selection_is_refused(types):
    with pytest.raises(JobTypeError, match=r"'subject' of job type 'tests\.greet' is no Selection"):
        run_on_selection(types["greet"], argument="subject")
    with pytest.raises(JobTypeError, match="'nothing' of job type"):
        run_on_selection(types["greet"], argument="nothing")


def test_an_action_in_the_list_of_another_model_is_refused(types, root, rf):
    act = run_on_selection(registry.find("tests.close"), argument="shops")
    model_admin = admin.site.get_model_admin(type(root))
    with pytest.raises(JobTypeError, match=r"takes rows of testapp\.Shop, and this is the list of auth\.User"):
        act(model_admin, rf.post("/"), type(root).objects.all())


def test_a_site_without_pages_of_jobs_says_so(rf, root, shops):
    bare = admin.AdminSite("bare")
    bare.register(Shop)
    request = rf.post("/")
    request.session, request.user = {}, root
    request._messages = FallbackStorage(request)
    act = run_on_selection(registry.find("tests.close"), argument="shops")
    assert act(bare.get_model_admin(Shop), request, Shop.objects.all()) is None
    assert [str(message) for message in request._messages] == ["This site has no pages of jobs."]
