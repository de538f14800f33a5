from __future__ import annotations

from decimal import Decimal

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from example_project.demo.data import SAMPLE
from example_project.shop.jobs import check_addresses, import_products, rebuild_search_index
from example_project.shop.models import Product, Shop
from qorworker import InvalidArguments
from qorworker.models import Job, Outcome

HEADER = "sku,name,price,stock\n"


@pytest.fixture
def shop(db):
    shop = Shop.objects.create(name="Berlin")
    Product.objects.create(shop=shop, sku="OLD", name="Old tea", price="2.00", stock=5)
    return shop


def upload(text: str | bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile("products.csv", text if isinstance(text, bytes) else text.encode())


def stored(shop: Shop) -> dict[str, tuple]:
    return {product.sku: (product.name, product.price, product.stock) for product in shop.products.all()}


def test_rows_are_created_and_updated(run, shop):
    told = run(import_products, file=upload(HEADER + "OLD,Old tea,2.50,4\nNEW,New tea,3.00,9\n"), shop=shop)
    assert told.ending.outcome == Outcome.DONE
    assert stored(shop) == {"OLD": ("Old tea", Decimal("2.50"), 4), "NEW": ("New tea", Decimal("3.00"), 9)}
    assert told.progress[-2:] == [50, 100]
    assert told.log[-1] == "2 rows imported, 0 left out"


def test_the_factor_multiplies_every_price(run, shop):
    run(import_products, file=upload(HEADER + "NEW,New tea,3.33,9\n"), shop=shop, factor=Decimal("1.50"))
    assert stored(shop)["NEW"][1] == Decimal("5.00")


def test_rows_with_errors_are_listed_with_the_reason_and_left_out(run, shop):
    told = run(import_products, file=SimpleUploadedFile(SAMPLE.name, SAMPLE.read_bytes()), shop=shop)
    assert told.ending.outcome == Outcome.ROW_ERRORS
    assert told.ending.error == "2 of 8 rows have errors."
    errors = {row[0][0]: [(value, error) for value, error in row if error] for row in told.rows}
    assert {sku: found for sku, found in errors.items() if found} == {
        "CUP-02": [("-3", "Ensure this value is greater than or equal to 0.")],
        "POT-02": [("", "This field is required.")],
    }
    assert set(stored(shop)) == {"OLD", "TEA-01", "TEA-02", "TEA-03", "CUP-01", "POT-01", "SPN-01"}


def test_replace_deletes_what_is_not_in_the_file(run, shop):
    run(import_products, file=upload(HEADER + "NEW,New tea,3.00,9\n"), shop=shop, mode="replace")
    assert set(stored(shop)) == {"NEW"}


def test_replace_deletes_nothing_if_a_row_has_an_error(run, shop):
    run(import_products, file=upload(HEADER + "NEW,New tea,3.00,9\nBAD,,1,1\n"), shop=shop, mode="replace")
    assert set(stored(shop)) == {"OLD", "NEW"}


def test_only_rows_with_errors_are_imported_again(run_job, shop):
    failed = run_job(
        import_products, file=upload(HEADER + "A,Tea,1,1\nB,Cup,cheap,1\n,Pot,1,1\n"), shop=shop, mode="replace"
    )
    assert (failed.status, failed.job.repeatable_rows) == ("exception", 1)
    corrected = upload(HEADER + "A,Changed,1,1\nB,Cup,2.00,1\n")
    again = run_job(failed.job.rerun_failed_rows(file=corrected))
    assert (again.status, again.rows) == ("done", [["B", "Cup", "2.00", "1"]])
    assert {sku: product[0] for sku, product in stored(shop).items()} == {"OLD": "Old tea", "A": "Tea", "B": "Cup"}


def test_two_rows_about_one_product_do_not_stop_the_import(run_job, shop):
    ended = run_job(import_products, file=upload(HEADER + "A,Tea,1,1\nA,Tea,cheap,1\n"), shop=shop)
    assert (ended.error, ended.job.repeatable_rows) == ("1 of 2 rows have errors.", 0)


@pytest.mark.parametrize("sku", ["A\a", "A\u2028B", '"A\nB"'])
def test_a_product_number_that_cannot_be_a_key_does_not_stop_the_import(run_job, shop, sku):
    ended = run_job(import_products, file=upload(HEADER + f"{sku},Tea,cheap,1\nB,Cup,cheap,1\n"), shop=shop)
    assert (ended.error, ended.job.repeatable_rows) == ("2 of 2 rows have errors.", 1)


def test_replace_touches_no_other_shop(run, shop):
    other = Shop.objects.create(name="Lisbon")
    Product.objects.create(shop=other, sku="OLD", name="Old tea", price=2)
    run(import_products, file=upload(HEADER + "NEW,New tea,3.00,9\n"), shop=shop, mode="replace")
    assert set(stored(other)) == {"OLD"}


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("sku,name\nA,B\n", "The file has no column price, stock."),
        ("", "The file has no column name, price, sku, stock."),
        (HEADER.encode() + b"\xff,\xfe,1,1\n", "can't decode byte 0xff"),
    ],
    ids=["columns missing", "empty", "not UTF-8"],
)
def test_a_file_that_is_no_product_list_fails_and_changes_nothing(run, shop, content, error):
    before = stored(shop)
    # An upload form refuses an empty file; what came to the storage by other ways may still be one.
    told = run(import_products, file=upload(content or "\n"), shop=shop, mode="replace")
    assert told.ending.outcome == Outcome.FAILED
    assert error in told.ending.error
    assert stored(shop) == before


def test_rows_that_are_too_long_or_too_short_end_in_the_table(run, shop):
    told = run(import_products, file=upload(HEADER + "A,Tea,1,1,surplus\nB\n"), shop=shop)
    assert told.ending.outcome == Outcome.ROW_ERRORS
    assert "A" in stored(shop)
    assert told.rows[1] == [["B", ""], *(["", "This field is required."] for _ in range(3))]


def test_a_shop_that_does_not_exist_is_refused(db):
    with pytest.raises(InvalidArguments) as caught:
        import_products.enqueue(file=upload(HEADER), shop=404)
    assert set(caught.value.errors) == {"shop"}
    assert not Job.objects.exists()


def test_the_search_index_has_every_product(run, shop):
    told = run(rebuild_search_index)
    assert told.ending.outcome == Outcome.DONE
    assert shop.products.get().search_text == "old old tea berlin"


def test_the_search_index_can_be_aborted(run, shop):
    told = run(rebuild_search_index, abort_after=-1)
    assert told.ending.outcome == Outcome.ABORTED
    assert shop.products.get().search_text == ""


def test_each_site_of_a_supplier_is_checked_by_a_job_of_its_own(drain_jobs, monkeypatch):
    monkeypatch.setattr("example_project.shop.jobs.random.uniform", lambda low, high: 0.01)
    check_addresses.enqueue(number=3)
    [first, *others] = drain_jobs()
    assert first.log[0] == "3 jobs will check one site each"
    assert [run.job.result for run in others] == ["answers"] * 3
    assert "https://supplier1.example.com/ answered after 0.0 s" in others[0].log
