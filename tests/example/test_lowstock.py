import pytest

from example_project.shop.jobs import low_stock
from example_project.shop.models import Product, Shop
from qorworker.exceptions import CommandFailed
from qorworker.execution.commands import run_command
from qorworker.models import Job
from tests.support import log_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def shops():
    for name, stock in (("Berlin", 3), ("Riga", 30)):
        shop = Shop.objects.create(name=name)
        Product.objects.create(shop=shop, sku="TEA", name="Tea", price=1, stock=stock)


@pytest.mark.django_db(transaction=True)
def test_it_lists_the_products_of_which_few_are_left(shops, settings):
    queues = {**settings.QORWORKER["QUEUES"], "now": {"BACKEND": "qorworker.backends.immediate.ImmediateBackend"}}
    settings.QORWORKER = {**settings.QORWORKER, "QUEUES": queues}
    job = low_stock.using(queue_name="now").enqueue(shops=["Berlin", "Oslo"], below=5)
    job = Job.objects.get(pk=job.pk)
    assert (job.status, job.error) == ("done", "")
    assert log_of(job)[:3] == [
        "There is no shop called Oslo.",
        "Berlin: 3 of TEA Tea",
        "1 of 2 products have fewer than 5 pieces.",
    ]


def test_the_form_has_no_place_for_what_only_scripts_need(shops):
    assert list(low_stock.arguments.fields) == ["shops", "below", "sort", "verbosity"]
    with pytest.raises(CommandFailed, match="1 products have fewer than 5 pieces"):
        run_command("lowstock", ["--below", "5", "--strict"])
