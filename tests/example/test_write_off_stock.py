"""The job that another user has to approve where it matters."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model

from example_project.shop.jobs import write_off_stock
from example_project.shop.models import Product, Shop
from qorworker.testing import run_job


@pytest.fixture
def shop(db):
    shop = Shop.objects.create(name="Berlin")
    Product.objects.create(shop=shop, sku="OLD", name="Old tea", price="2.00", stock=99)
    return shop


def stock(shop: Shop) -> int:
    return int(shop.products.get().stock)


def test_a_few_pieces_are_written_off_at_once(shop):
    run = run_job(write_off_stock, shop=shop, reason="Wet.")
    assert (run.result, stock(shop), run.log) == (99, 0, ["99 pieces written off: Wet."])


def test_many_wait_for_another_user(shop):
    shop.products.update(stock=100)
    job = write_off_stock.enqueue(shop=shop, reason="Wet.")
    assert (job.awaits_approval, stock(shop)) == (True, 100)
    boss = get_user_model().objects.create_superuser("boss")
    assert run_job(job, approved_by=boss).result == 100
    assert stock(shop) == 0
