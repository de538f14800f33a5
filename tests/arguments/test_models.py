"""Rows of models as arguments: stored as key and label, fetched again for the handler, missed by name."""

from typing import Annotated, Any

import pytest
from django import forms
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db import connection, models
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext, isolate_apps

from qorworker import Arg, InvalidArguments
from qorworker.arguments import Arguments
from tests.job_types import round_trip, stored_form, taking, there_and_back
from tests.testapp.models import Shop

pytestmark = pytest.mark.django_db


@pytest.fixture
def berlin():
    return Shop.objects.create(name="Berlin")


@pytest.fixture
def paris():
    return Shop.objects.create(name="Paris")


def refused(annotation, value):
    with pytest.raises(InvalidArguments) as error:
        stored_form(taking(annotation), {"value": value})
    assert list(error.value.errors) == ["value"]


def test_a_row_is_stored_as_key_and_label(berlin):
    stored = stored_form(taking(Shop), {"value": berlin})
    assert stored == {"value": {"$model": "testapp.shop", "pk": berlin.pk, "label": "Berlin"}}


@pytest.mark.parametrize("given", [lambda row: row, lambda row: row.pk, lambda row: str(row.pk)])
def test_the_handler_gets_the_row(berlin, given):
    assert there_and_back(Shop, given(berlin)) == berlin


def test_the_handler_gets_the_row_as_it_is_now(berlin):
    stored = stored_form(taking(Shop), {"value": berlin})
    Shop.objects.update(name="Bonn")
    assert Arguments("t", taking(Shop)).load(stored)["value"].name == "Bonn"


def test_none_is_a_row_only_where_it_is_allowed(berlin):
    assert there_and_back(Shop | None, None) is None
    assert there_and_back(Shop | None, berlin) == berlin
    refused(Shop, None)


def test_what_is_no_row_of_the_model_is_refused(berlin):
    for value in (Shop(name="unsaved"), Group.objects.create(name="x"), True, "Berlin", 99999, 1.5, [berlin]):
        refused(Shop, value)


def test_a_row_that_is_gone_is_told_by_the_label_it_had(berlin):
    stored = stored_form(taking(Shop), {"value": berlin})
    pk = berlin.pk
    berlin.delete()
    with pytest.raises(InvalidArguments) as error:
        Arguments("t", taking(Shop)).load(stored)
    assert error.value.errors == {"value": [f"“Berlin” (#{pk}) no longer exists."]}


def test_rows_that_are_gone_from_a_list_are_told(berlin, paris):
    stored = stored_form(taking(list[Shop]), {"value": [berlin, paris]})
    pk = paris.pk
    paris.delete()
    with pytest.raises(InvalidArguments) as error:
        Arguments("t", taking(list[Shop])).load(stored)
    assert error.value.errors == {"value": [f"“Paris” (#{pk}) no longer exists."]}


def test_lists_of_rows_keep_their_order(berlin, paris):
    assert there_and_back(list[Shop], [paris, berlin]) == [paris, berlin]
    assert there_and_back(list[Shop], Shop.objects.order_by("-name")) == [paris, berlin]
    assert there_and_back(list[Shop], [str(paris.pk)]) == [paris]
    assert round_trip(taking(list[Shop], ())) == {"value": []}


def test_a_queryset_arrives_as_a_queryset(berlin, paris):
    annotation = Annotated[QuerySet[Shop], Arg(choices=Shop.objects.all)]
    rows = there_and_back(annotation, Shop.objects.filter(name="Paris"))
    assert isinstance(rows, QuerySet)
    assert list(rows) == [paris]


def test_only_rows_among_the_choices_are_taken(berlin, paris):
    german = Annotated[Shop, Arg(choices=lambda: Shop.objects.filter(name="Berlin"))]
    assert there_and_back(german, berlin) == berlin
    refused(german, paris)


@pytest.mark.parametrize(
    "planted",
    [5, "5", {"$model": "auth.user", "pk": 1}, {"$model": "testapp.shop"}, {"pk": 1}, ["x"]],
)
def test_a_planted_reference_is_refused(berlin, planted):
    with pytest.raises(InvalidArguments) as error:
        Arguments("t", taking(Shop)).load({"value": planted})
    assert list(error.value.errors) == ["value"]


def test_a_page_shows_rows_without_asking_for_them(berlin, paris):
    def handler(shop: Shop, shops: list[Shop]):
        pass

    stored = stored_form(handler, {"shop": berlin, "shops": [paris, berlin]})
    arguments = Arguments("t", handler)
    with CaptureQueriesContext(connection) as queries:
        shop, shops = arguments.display(stored)
        summary = arguments.summary(stored)
    assert len(queries) == 0
    assert (shop.text, shop.kind, shop.model) == (f"Berlin (#{berlin.pk})", "model", "testapp.shop")
    assert (shop.pk, shop.url) == (berlin.pk, "")  # the address is that of the site of the page
    assert shops.text == f"Paris (#{paris.pk}), Berlin (#{berlin.pk})"
    assert summary == f"Shop: Berlin (#{berlin.pk}), Shops: {shops.text}"


def test_the_form_is_filled_with_keys(berlin):
    stored = stored_form(taking(Shop), {"value": berlin})
    assert Arguments("t", taking(Shop)).initial(stored) == {"value": berlin.pk}


def test_the_form_has_the_search_box_of_the_admin_where_the_admin_can_search(berlin):
    page = Arguments("test.job", taking(Shop)).form_class({"value": berlin.pk}).as_p()
    assert 'class="admin-autocomplete"' in page
    assert 'data-ajax--url="/admin/qorworker/job/autocomplete/test.job/value/"' in page
    assert ">Berlin</option>" in page


def test_the_search_box_loads_only_the_chosen_row(berlin, paris):
    form = Arguments("test.job", taking(Shop)).form_class(initial={"value": berlin.pk})
    assert "Paris" not in form.as_p()


def test_a_model_without_search_gets_a_plain_list(berlin):
    User.objects.create(username="ben")
    permission = Arguments("test.job", taking(Group))
    Group.objects.create(name="staff")
    admin_of_group = admin.site.get_model_admin(Group)
    searchable, admin_of_group.search_fields = admin_of_group.search_fields, ()
    try:
        page = permission.form_class().as_p()
    finally:
        admin_of_group.search_fields = searchable
    assert "admin-autocomplete" not in page
    assert ">staff</option>" in page


@isolate_apps("tests.testapp")
@pytest.mark.parametrize("several", [False, True])
def test_a_model_with_a_composite_primary_key_is_refused_where_it_is_declared(several):
    class Line(models.Model):
        pk = models.CompositePrimaryKey("order", "number")
        order = models.IntegerField()
        number = models.IntegerField()

        class Meta:
            app_label = "testapp"

    class Choice(forms.Form):
        value = forms.ModelChoiceField(Line._default_manager.all())

    told = "Line has a composite primary key, which form fields cannot choose; take its parts instead"
    assert Arguments("t", taking(list[Line] if several else Line)).definition.problems == {"value": told}
    assert Arguments("t", taking(Any), Choice).definition.problems == {"value": told}
    assert Arguments("t", taking(Shop)).definition.problems == {}
