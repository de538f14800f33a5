"""Rows as arguments: nobody is shown, and nobody can name, a row that the admin does not show to them."""

from __future__ import annotations

from typing import Annotated

import pytest
from django import forms

import qorworker
from qorworker import Arg
from qorworker.models import Job, Preset
from tests.admin.support import BASE, text_of, user_with
from tests.admin.test_run_form import token_of
from tests.testapp.admin import ShopAdmin
from tests.testapp.models import Shop

pytestmark = [pytest.mark.django_db, pytest.mark.once]

PICK = BASE + "run/tests.pick/"


class ByForm(forms.Form):
    shop = forms.ModelChoiceField(Shop.objects.all())


def by_signature(shop: Shop) -> None:
    pass


def by_form(shop):
    pass


@pytest.fixture(params=["signature", "signature without search", "form"])
def pick(types, monkeypatch, request):
    """A job that takes a row: found with the search box, or in a list of all."""
    if request.param == "form":
        return qorworker.job(name="tests.pick", form=ByForm)(by_form)
    if request.param == "signature without search":
        monkeypatch.setattr(ShopAdmin, "search_fields", ())
    return qorworker.job(name="tests.pick")(by_signature)


@pytest.fixture
def shops(monkeypatch):
    mine, other = Shop.objects.create(name="Verona"), Shop.objects.create(name="Palermo")
    monkeypatch.setattr(ShopAdmin, "get_queryset", lambda self, request: Shop.objects.filter(name="Verona"))
    return mine, other


def post(client, shop):
    return client.post(PICK, {"qw-token": token_of(client, PICK), "qw-when": "now", "shop": shop.pk})


def test_shared_arguments_do_not_name_a_row_that_the_admin_hides(pick, shops, client):
    owner = user_with(name="owner")
    for shop in shops:
        named = {"$model": "testapp.shop", "pk": shop.pk, "label": shop.name}
        Preset.objects.create(
            owner=owner, name=f"of {shop.pk}", job_name="tests.pick", arguments={"shop": named}, is_shared=True
        )
    client.force_login(user_with("qorworker.run_job", "testapp.view_shop"))
    page = text_of(client.get(PICK))
    assert all(f"of {shop.pk}" in page for shop in shops)
    assert ("Shop: Verona" in page, "Palermo" in page) == (True, False)


def test_a_row_that_the_admin_hides_is_neither_named_nor_taken(pick, shops, client):
    mine, other = shops
    client.force_login(user_with("qorworker.run_job", "testapp.view_shop"))
    assert "Palermo" not in text_of(client.get(f"{PICK}?shop={other.pk}"))
    answer = text_of(post(client, other))
    assert "Select a valid choice" in answer
    assert "Palermo" not in answer
    assert not Job.objects.exists()
    assert "Verona" in text_of(client.get(f"{PICK}?shop={mine.pk}"))
    assert post(client, mine).status_code == 302
    assert Job.objects.get().arguments["shop"]["label"] == "Verona"


def test_a_link_tells_no_difference_between_a_hidden_row_and_none(pick, shops, client):
    client.force_login(user_with("qorworker.run_job", "testapp.view_shop"))
    hidden, none = (client.get(f"{PICK}?shop={pk}").context["filled"].notes for pk in (shops[1].pk, shops[1].pk + 1000))
    assert hidden == none != []


def test_who_may_not_search_the_rows_cannot_name_one(types, client):
    qorworker.job(name="tests.pick")(by_signature)
    shop = Shop.objects.create(name="Verona")
    client.force_login(user_with("qorworker.run_job"))
    assert "Verona" not in text_of(client.get(f"{PICK}?shop={shop.pk}"))
    assert post(client, shop).status_code == 200
    assert not Job.objects.exists()


def test_rows_from_a_callable_are_those_of_the_day_on_which_the_form_is_opened(types, visitor):
    open_today = ["Verona"]
    handler = lambda shop: None  # noqa: E731
    handler.__annotations__ = {
        "shop": Annotated[Shop, Arg(choices=lambda: Shop.objects.filter(name__in=list(open_today)))]
    }
    job_type = qorworker.job(name="tests.pick")(handler)
    verona, palermo = Shop.objects.create(name="Verona"), Shop.objects.create(name="Palermo")
    assert post(visitor, palermo).status_code == 200
    open_today[:] = ["Palermo"]
    assert post(visitor, palermo).status_code == 302
    assert job_type.enqueue(shop=palermo)
    with pytest.raises(qorworker.InvalidArguments):
        job_type.enqueue(shop=verona)
