"""The job that asks before it publishes."""

from __future__ import annotations

from decimal import Decimal

import pytest

from example_project.shop.jobs import reprice_shop
from example_project.shop.models import Product, Shop
from qorworker.testing import DECLINED, NOBODY, run_job


@pytest.fixture
def shop(db):
    shop = Shop.objects.create(name="Berlin")
    Product.objects.create(shop=shop, sku="OLD", name="Old tea", price="2.00", stock=5)
    return shop


def price(shop: Shop) -> Decimal:
    return shop.products.get().price


def test_it_lists_the_prices_before_it_asks(shop):
    run = run_job(reprice_shop, shop=shop, factor=Decimal("1.50"))
    assert run.job.is_asking
    assert run.job.questions.get().text == "Publish 1 prices of Berlin?"
    assert run.rows == [["OLD", "2.00", "3.00"]]
    assert price(shop) == Decimal("2.00")


def test_yes_changes_them_once(shop):
    run = run_job(reprice_shop, shop=shop, factor=Decimal("1.50"), answers=[{"publish": True, "note": "Fine."}])
    assert (run.status, run.result, price(shop)) == ("done", 1, Decimal("3.00"))
    assert run.log[-1] == "Nobody: Fine."  # no user in a test


@pytest.mark.parametrize("answer", [{"publish": False}, NOBODY])
def test_no_and_silence_change_nothing(shop, answer):
    run = run_job(reprice_shop, shop=shop, answers=[answer])
    assert (run.status, run.result, price(shop)) == ("done", 0, Decimal("2.00"))


def test_whoever_declines_ends_it(shop):
    run = run_job(reprice_shop, shop=shop, answers=[DECLINED])
    assert (run.status, price(shop)) == ("exception", Decimal("2.00"))
