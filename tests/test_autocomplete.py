"""The search box for rows: whom it answers, and with which rows."""

import json

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.test import RequestFactory

from qorworker import Arg, job
from qorworker.admin.jobs.autocomplete import JobAutocompleteView
from tests.job_types import own_types  # noqa: F401
from tests.testapp.models import Shop

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_types")]


@pytest.fixture(autouse=True)
def _types(own_types):  # noqa: F811
    from typing import Annotated

    german = Annotated[list[Shop], Arg(choices=lambda: Shop.objects.filter(name__startswith="Ber"))]

    @job(name="test.pick")
    def pick(shop: Shop, german: german, group: Group, text: str = ""):
        pass

    for name in ("Berlin", "Bern", "Paris"):
        Shop.objects.create(name=name)


@pytest.fixture
def user():
    user = User.objects.create(username="ben", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="run_job"))
    user.user_permissions.add(Permission.objects.get(codename="view_shop", content_type__app_label="testapp"))
    return user


def ask(user, field="shop", term="", name="test.pick"):
    request = RequestFactory().get("/", {"term": term})
    request.user = User.objects.get(pk=user.pk)
    answer = JobAutocompleteView.as_view(admin_site=admin.site)(request, job_type=name, field=field)
    return [row["text"] for row in json.loads(answer.content)["results"]]


def test_rows_are_searched_as_in_the_admin_of_the_model(user):
    assert sorted(ask(user, term="ber")) == ["Berlin", "Bern"]
    assert ask(user, term="nowhere") == []


def test_only_rows_among_the_choices_are_offered(user):
    assert sorted(ask(user, "german")) == ["Berlin", "Bern"]


def test_who_may_not_see_the_model_gets_nothing(user):
    user.user_permissions.remove(Permission.objects.get(codename="view_shop", content_type__app_label="testapp"))
    with pytest.raises(PermissionDenied):
        ask(user)


def test_who_may_not_run_the_job_gets_nothing(user):
    user.user_permissions.remove(Permission.objects.get(codename="run_job"))
    with pytest.raises(PermissionDenied):
        ask(user)


def test_an_unknown_job_type_gets_nothing(user):
    with pytest.raises(PermissionDenied):
        ask(user, name="os.system")


@pytest.mark.parametrize("field", ["text", "nowhere"])
def test_a_field_that_holds_no_rows_is_not_found(user, field):
    with pytest.raises(Http404):
        ask(user, field)


def test_a_model_that_the_admin_does_not_know_gives_nothing(user, monkeypatch):
    monkeypatch.delitem(admin.site._registry, Shop)
    with pytest.raises(PermissionDenied):
        ask(user)


def test_a_model_that_the_admin_cannot_search_is_not_found(user, monkeypatch):
    monkeypatch.setattr(admin.site.get_model_admin(Shop), "search_fields", ())
    with pytest.raises(Http404):
        ask(user)


# Choices that are no search box


@pytest.mark.parametrize("may_view", [True, False])
def test_rows_without_a_search_box_are_choices_only_for_users_who_may_view_them(user, monkeypatch, may_view):
    from qorworker.admin.jobs.autocomplete import limit_rows
    from qorworker.definitions.registry import registry

    monkeypatch.setattr(admin.site.get_model_admin(Shop), "search_fields", ())
    if not may_view:
        user.user_permissions.remove(Permission.objects.get(codename="view_shop", content_type__app_label="testapp"))
    request = RequestFactory().get("/")
    request.user = User.objects.get(pk=user.pk)
    form = registry.get("test.pick").arguments.form_class()
    limit_rows(form, request, admin.site)
    assert ("Paris" in str(form["shop"])) is may_view
    assert form.fields["shop"].queryset.exists() is may_view


@pytest.mark.parametrize("may_view", [True, False])
def test_for_a_model_of_another_site_djangos_permission_decides(user, may_view):
    from qorworker.admin.jobs.autocomplete import limit_rows
    from qorworker.definitions.registry import registry

    if not may_view:
        user.user_permissions.remove(Permission.objects.get(codename="view_shop", content_type__app_label="testapp"))
    request = RequestFactory().get("/")
    request.user = User.objects.get(pk=user.pk)
    form = registry.get("test.pick").arguments.form_class()
    limit_rows(form, request, admin.AdminSite(name="elsewhere"))
    assert form.fields["shop"].queryset.exists() is may_view
