from __future__ import annotations

from datetime import timedelta

from example_project.newsletter.models import Subscriber
from example_project.reports.jobs import nightly_report
from example_project.shop.models import Product, Shop
from qorworker.models import Outcome


def test_the_report_counts_each_shop(run):
    berlin, _ = Shop.objects.create(name="Berlin"), Shop.objects.create(name="Lisbon")
    Product.objects.create(shop=berlin, sku="A", name="Tea", price="2.50", stock=4)
    Product.objects.create(shop=berlin, sku="B", name="Cup", price="9.00", stock=1)
    Subscriber.objects.create(email="ada@example.com", name="Ada")
    told = run(nightly_report)
    assert told.ending.outcome == Outcome.DONE
    assert [[value for value, error in row] for row in told.rows] == [
        ["Berlin", 2, 5, "19.00"],
        ["Lisbon", 0, 0, "0.00"],
    ]
    assert told.log == ["The newsletter has 1 subscribers"]


def test_the_report_is_kept_as_a_file(run_job):
    Shop.objects.create(name="Berlin")
    ended = run_job(nightly_report)
    assert ended.job.results_titles == ["Shop", "Products", "Pieces", "Worth"]
    assert ended.files == {"report.csv": b"Shop,Products,Pieces,Worth\r\nBerlin,0,0,0.00\r\n"}


def test_the_report_says_at_its_end_what_it_has_cost(run_job, settings):
    settings.QORWORKER = {**settings.QORWORKER, "MIDDLEWARE": ["example_project.middleware.cost"]}
    assert run_job(nightly_report).log[-1].startswith("2 statements to the database, ")


def test_the_report_can_wait_for_the_night(drain_jobs):
    nightly_report.using(run_after=timedelta(hours=8)).enqueue()
    assert drain_jobs() == []
    [run] = drain_jobs(at=timedelta(hours=8))
    assert (run.status, run.rows) == ("done", [])


def test_the_report_asks_for_nothing():
    assert nightly_report.arguments.form_class.base_fields == {}
