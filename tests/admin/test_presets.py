"""Saved arguments: who may save, share, use and delete them, and that no secret and no file is ever among them."""

from __future__ import annotations

import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from qorworker.admin.jobs import presets
from qorworker.models import AuditEntry, Job, Preset
from tests.admin.filled_in import filled_in
from tests.admin.support import BASE, XSS, make_job, messages_of, stored, superuser, text_of, user_with
from tests.testapp.models import Shop

pytestmark = [pytest.mark.django_db, pytest.mark.once]

GREET = BASE + "run/tests.greet/"
SAVE = GREET + "save/"
TYPED = {"subject": "Hello", "copies": "2", "mode": "rich"}


def signed_in(user):
    client = Client()
    client.force_login(user)
    return client


def kept_by(page):
    return re.search(r'name="qw-arguments" value="([^"]+)"', text_of(page))[1]


def save(client, name="spring sale", url=SAVE, typed=TYPED, **chosen):
    """Both pages of saving; the answer to the second."""
    data = {"qw-arguments": kept_by(client.post(url, typed)), "qw-name": name}
    return client.post(url, {**data, **{f"qw-{field}": value for field, value in chosen.items()}}, follow=True)


def preset_of(user, name="x", **fields):
    fields = {"job_name": "tests.greet", "arguments": {"subject": f"Of {user}"}, **fields}
    return Preset.objects.create(owner=user, name=name, **fields)


def delete_url(preset):
    return f"{BASE}preset/{preset.pk}/delete/"


# Saving


def test_arguments_are_saved_in_two_steps_and_fill_the_form_again(types, visitor, root):
    first = visitor.post(SAVE, TYPED)
    assert "What is saved" in text_of(first)
    assert not Preset.objects.exists()
    response = save(visitor)
    preset = Preset.objects.get()
    assert (preset.job_name, preset.owner, preset.name, preset.is_shared) == ("tests.greet", root, "spring sale", False)
    assert preset.arguments == {"subject": "Hello", "copies": 2, "mode": "rich"}
    assert response.redirect_chain == [(f"{GREET}?preset={preset.pk}", 302)]
    assert messages_of(response) == ["The arguments are saved as “spring sale”."]
    assert filled_in(response)["subject"] == ["Hello"]
    assert AuditEntry.objects.get().action_label == "Save arguments"
    assert not Job.objects.exists()


def test_a_secret_is_never_saved_and_never_on_the_page_between(types, visitor):
    url = BASE + "run/tests.log_in/save/"
    typed = {"password": "hunter2", "user_name": "ben"}
    between = visitor.post(url, typed)
    assert "hunter2" not in text_of(between)
    save(visitor, url=url, typed=typed)
    preset = Preset.objects.get()
    assert preset.arguments == {"user_name": "ben"}
    assert preset.left_out == ["password"]
    page = visitor.get(f"{BASE}run/tests.log_in/?preset={preset.pk}")
    assert page.context["filled"].notes == []
    assert filled_in(page)["password"] == [""]


def test_a_file_is_never_saved(types, visitor):
    shop = Shop.objects.create(name="Berlin")
    save(
        visitor, url=BASE + "run/tests.upload/save/", typed={"file": SimpleUploadedFile("a.csv", b"a"), "shop": shop.pk}
    )
    preset = Preset.objects.get()
    assert list(preset.arguments) == ["shop"]
    assert preset.left_out == ["file"]


def test_what_is_empty_although_it_is_needed_is_left_out(types, visitor):
    save(visitor, typed={**TYPED, "subject": ""})
    preset = Preset.objects.get()
    assert (preset.arguments, preset.left_out) == ({"copies": 2, "mode": "rich"}, ["subject"])
    assert visitor.get(f"{GREET}?preset={preset.pk}").context["filled"].notes == []


def test_what_is_wrong_is_not_saved_and_the_form_comes_back_with_what_was_typed(types, visitor):
    response = visitor.post(SAVE, {**TYPED, "copies": "many"})
    page = text_of(response)
    assert "Nothing was saved. Please correct the following:" in page
    assert '<a href="#id_copies">' in page
    assert filled_in(response)["subject"] == ["Hello"]
    assert not Preset.objects.exists()


def test_a_time_that_is_not_chosen_yet_does_not_matter(types, visitor):
    assert "What is saved" in text_of(visitor.post(SAVE, {**TYPED, "qw-when": "later"}))


def test_the_type_that_wants_to_be_confirmed_is_not_run_by_saving(types, visitor):
    visitor.post(SAVE, {**TYPED, "qw-token": "0." + "x" * 20, "qw-confirmed": "on"})
    assert not Job.objects.exists()


@pytest.mark.parametrize("name", ["", "   ", "x" * 101])
def test_a_name_is_needed_and_what_is_saved_is_kept_on_the_page(types, visitor, name):
    response = save(visitor, name)
    assert "errorlist" in text_of(response)
    assert kept_by(response)
    assert not Preset.objects.exists()


def test_a_name_that_is_taken_is_replaced_only_if_one_says_so(types, visitor):
    save(visitor)
    response = save(visitor, "Spring Sale", typed={**TYPED, "subject": "Other"})
    assert "You have saved arguments under this name." in text_of(response)
    assert Preset.objects.get().arguments["subject"] == "Hello"
    save(visitor, "Spring Sale", typed={**TYPED, "subject": "Other"}, replace="on")
    assert Preset.objects.get().arguments["subject"] == "Other"


def test_two_people_may_use_the_same_name(types, visitor):
    preset_of(superuser("other"), "spring sale", is_shared=True)
    save(visitor)
    assert Preset.objects.filter(name="spring sale").count() == 2


def test_what_was_saved_meanwhile_is_not_lost(types, visitor, root, monkeypatch):
    data = {"qw-arguments": kept_by(visitor.post(SAVE, TYPED)), "qw-name": "x"}
    asked = presets._form

    def slow(*args):
        form = asked(*args)
        Preset.objects.get_or_create(
            job_name="tests.greet", owner=root, name="x", defaults={"arguments": {"mode": "a"}}
        )
        return form

    monkeypatch.setattr(presets, "_form", slow)
    assert "You have saved arguments under this name." in text_of(visitor.post(SAVE, data))
    assert Preset.objects.get().arguments == {"mode": "a"}


@pytest.mark.parametrize("change", ["", "x", "other person", "other type"])
def test_what_the_page_between_holds_fits_only_there(types, visitor, root, change):
    kept = {"": "", "x": "x"}.get(change)
    if change == "other person":
        kept = kept_by(signed_in(superuser("other")).post(SAVE, TYPED))
    if change == "other type":
        kept = kept_by(visitor.post(BASE + "run/tests.upload/save/", {}))
    response = visitor.post(SAVE, {"qw-arguments": kept, "qw-name": "x"}, follow=True)
    assert messages_of(response) == ["The page was open for too long. Nothing was saved."]
    assert not Preset.objects.exists()


def test_who_may_not_run_the_type_may_not_save(types, client):
    client.force_login(user_with("qorworker.view_job"))
    assert client.post(SAVE, TYPED).status_code == 403
    assert AuditEntry.objects.get().outcome == "denied"
    assert client.post(BASE + "run/tests.nothing/save/", TYPED).status_code == 404


def test_a_form_without_anything_to_save_does_not_offer_it(types, visitor):
    assert "Save arguments…" in text_of(visitor.get(GREET))
    assert "Save arguments…" not in text_of(visitor.get(BASE + "run/tests.open/"))


def test_too_much_is_refused(types, visitor, settings):
    settings.QORWORKER = {**settings.QORWORKER, "ARGUMENTS_BYTES": 1024}
    assert "too large to be saved" in text_of(visitor.post(SAVE, {**TYPED, "subject": "x" * 2000}))


# Sharing


@pytest.mark.parametrize("may_share", [True, False])
def test_sharing_needs_its_permission(types, may_share):
    more = ["qorworker.share_preset"] if may_share else []
    user = user_with("qorworker.run_job", *more, name="a")
    client = signed_in(user)
    assert ("qw-is_shared" in text_of(client.post(SAVE, TYPED))) is may_share
    save(client, is_shared="on")
    assert Preset.objects.get().is_shared is may_share
    other = signed_in(user_with("qorworker.run_job", name="b"))
    page = text_of(other.get(GREET))
    assert ("shared by a" in page) is may_share
    filled = other.get(f"{GREET}?preset={Preset.objects.get().pk}").context["filled"]
    assert (filled.values.get("subject") == "Hello") is may_share


def test_what_is_shared_is_only_for_who_may_run_the_type(types, client):
    preset_of(superuser("other"), is_shared=True, job_name="tests.by_name")
    client.force_login(user_with("qorworker.run_job"))
    assert client.get(BASE + "run/tests.by_name/").status_code == 404


def test_what_somebody_left_behind_stays_if_it_was_shared(types, visitor):
    other = superuser("other")
    shared, private = preset_of(other, "team", is_shared=True), preset_of(other, "mine")
    other.delete()
    page = text_of(visitor.get(GREET))
    assert f"?preset={shared.pk}" in page
    assert f"?preset={private.pk}" not in page
    assert visitor.get(delete_url(private)).status_code == 404
    visitor.post(delete_url(shared))
    assert list(Preset.objects.all()) == [private]


# Deleting


def test_ones_own_can_be_deleted_after_a_question(types, client):
    user = user_with("qorworker.run_job")
    preset = preset_of(user)
    client.force_login(user)
    assert f'href="{delete_url(preset)}"' in text_of(client.get(GREET))
    page = text_of(client.get(delete_url(preset)))
    assert "Delete the saved arguments “x”?" in page.replace("&quot;", '"')
    assert Preset.objects.exists()
    response = client.post(delete_url(preset), follow=True)
    assert messages_of(response) == ["The saved arguments “x” are deleted."]
    assert not Preset.objects.exists()
    assert AuditEntry.objects.get().action_label == "Delete saved arguments"


@pytest.mark.parametrize("method", ["get", "post"])
def test_the_private_ones_of_others_are_not_found_not_even_by_a_superuser(types, visitor, method):
    preset = preset_of(user_with("qorworker.run_job"))
    assert getattr(visitor, method)(delete_url(preset)).status_code == 404
    assert Preset.objects.exists()


@pytest.mark.parametrize("method", ["get", "post"])
def test_what_others_share_can_be_used_but_not_deleted(types, client, method):
    preset = preset_of(superuser("other"), is_shared=True)
    client.force_login(user_with("qorworker.run_job", "qorworker.share_preset"))
    assert delete_url(preset) not in text_of(client.get(GREET))
    response = getattr(client, method)(delete_url(preset))
    assert response.status_code == 403
    assert "Only the person who saved them can delete them." in text_of(response)
    assert Preset.objects.exists()


def test_ones_own_of_a_type_one_may_no_longer_run_are_not_found(types, client):
    user = user_with("qorworker.view_job")
    preset = preset_of(user)
    client.force_login(user)
    assert client.post(delete_url(preset)).status_code == 404
    assert Preset.objects.exists()


# The menu


def test_the_menu_has_ones_last_five_different_runs_and_what_is_saved(types, visitor, root):
    for number in range(7):
        arguments = stored(types["greet"], subject=f"Run {number}")
        jobs = [make_job(types["greet"], "done", arguments=arguments, created_by=root) for _ in range(2)]
    make_job(types["greet"], "done", arguments=stored(types["greet"], subject="Not mine"), created_by=superuser("b"))
    mine, shared = preset_of(root, "mine"), preset_of(superuser("other"), "theirs", is_shared=True)
    preset_of(superuser("third"), "private")
    page = visitor.get(GREET)
    found = page.context["starts"]
    assert [start.job.arguments["subject"] for start in found if start.job] == [f"Run {n}" for n in (6, 5, 4, 3, 2)]
    assert [start.preset for start in found if start.preset] == [mine, shared]
    assert found[0].job == jobs[1]
    assert "Subject: Run 6" in text_of(page)
    assert "Not mine" not in text_of(page)
    assert "private" not in text_of(page)


def test_secrets_and_files_make_no_difference_between_runs_and_are_masked(types, visitor, root):
    for password in ("one", "two"):
        arguments = stored(types["log_in"], password=password)
        make_job(types["log_in"], "done", arguments=arguments, created_by=root)
    (start,) = visitor.get(BASE + "run/tests.log_in/").context["starts"]
    assert start.summary == "Password: ••••••, User name: root"


def test_runs_are_no_start_for_who_may_not_see_arguments(types, client):
    user = user_with("qorworker.run_job", "qorworker.view_job")
    make_job(types["greet"], "done", arguments=stored(types["greet"], subject="Mine"), created_by=user)
    client.force_login(user)
    page = client.get(GREET)
    assert page.context["starts"] == []
    assert "Mine" not in text_of(page)


def test_names_and_summaries_are_text(types, visitor, root):
    preset = preset_of(root, XSS, arguments={"subject": XSS})
    for url in (GREET, f"{GREET}?preset={preset.pk}", delete_url(preset)):
        page = text_of(visitor.get(url))
        assert XSS not in page
        assert "&lt;script&gt;" in page


def test_what_changed_since_it_was_saved_is_told(types, visitor, root):
    preset = preset_of(root, arguments={"subject": "Hello", "country": "DE", "copies": "many"}, left_out=["subject2"])
    filled = visitor.get(f"{GREET}?preset={preset.pk}").context["filled"]
    assert filled.values == {"subject": "Hello"}
    assert filled.notes == [
        "The field “mode” is new. The field “country” no longer exists. The value of “copies” no longer fits."
    ]
