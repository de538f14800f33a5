"""The shop's jobs. Found when Django starts; called in a worker's child process."""

from __future__ import annotations

import asyncio
import codecs
import csv
import datetime as dt
import random
import time
from decimal import Decimal
from typing import Annotated, Any, Literal

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.db.models import Sum
from django.utils.translation import gettext_lazy as _

from example_project.shop.models import Product, Shop
from qorworker import Arg, Cell, JobContext, JobType, RowKeys, Selection, Unique, chain, job, job_of_command

COLUMNS = ("sku", "name", "price", "stock")


class ProductRow(forms.ModelForm):
    """One row of the file: the model's own rules say what is wrong with it."""

    class Meta:
        model = Product
        fields = COLUMNS


@job(
    group="Catalogue",
    permission="shop.import_products",
    max_attempts=3,
    timeout=1800,
    max_concurrency=1,  # for each shop: two imports into one would work on the same products
    concurrency_key="shop",
    dry_run=True,  # what it would change in the shop can be looked at before
)
def import_products(
    context: JobContext,
    file: Annotated[UploadedFile, Arg(label="CSV file", help="In UTF-8, with the columns sku, name, price, stock.")],
    shop: Shop,
    mode: Annotated[Literal["add", "replace"], Arg(help="Replace also deletes what is not in the file.")] = "add",
    factor: Annotated[Decimal, Arg(help="Multiplies every price.", min_value="0.01")] = Decimal("1.00"),
    only: RowKeys | None = None,
) -> None:
    """Reads a CSV file and creates or updates the products of a shop.

    Rows with errors are listed and left out, the others are kept. Nothing is deleted if any row has an error, or if
    only some rows are imported again.
    """
    rows = [row for row in read_rows(file) if only is None or row["sku"] in only]
    context.add_log(f"Importing {len(rows)} rows into {shop}")
    context.set_results_columns(_("SKU"), _("Name"), _("Price"), _("Stock"))
    good, keys = set(), set()
    for row in context.track(rows, text="row {index} of {total}"):
        sku = row["sku"] or ""
        known = Product.objects.filter(shop=shop, sku=sku).first()
        form = ProductRow(row, instance=known or Product(shop=shop))
        if form.is_valid():
            form.instance.price = round(form.instance.price * factor, 2)
            form.save()
            good.add(form.instance.pk)
        # By its SKU a row can be imported again, if that is one, can be a key, and no other row has it.
        key = sku if "sku" not in form.errors and sku.isprintable() and sku not in keys else None
        keys.add(key)
        cells = (Cell(row[name] or "", error=" ".join(map(str, form.errors.get(name, ())))) for name in COLUMNS)
        context.add_results_row(*cells, key=key)

    failed = len(rows) - len(good)
    if mode == "replace" and not failed and only is None:
        deleted, _models = shop.products.exclude(pk__in=good).delete()
        context.add_log(f"{deleted} products that were not in the file are deleted")
    context.add_log(f"{len(good)} rows imported, {failed} left out")


def read_rows(file: UploadedFile) -> list[dict[str, str | None]]:
    reader = csv.DictReader(codecs.iterdecode(file, "utf-8-sig"))
    if missing := set(COLUMNS) - set(reader.fieldnames or ()):
        raise ValueError(f"The file has no column {', '.join(sorted(missing))}.")
    return list(reader)


@job(group="Catalogue", max_attempts=3, unique=Unique(by=[], among="waiting"))
def rebuild_search_index(
    context: JobContext,
    pause: Annotated[
        float, Arg(help="Seconds to rest after each product; a long one gives time to pause or abort it.", min_value=0)
    ] = 0.0,
) -> None:
    """Writes the search text of every product anew. The next attempt goes on where one ended."""
    products = Product.objects.select_related("shop")
    for product in context.iterate(products, text="product {index} of {total}"):
        product.search_text = f"{product.sku} {product.name} {product.shop.name}".casefold()
        product.save(update_fields=["search_text"])
        time.sleep(pause)
    context.add_log(f"{products.count()} products can be found again")


@job(group="Catalogue", permission="shop.change_product")
def reprice_shop(
    context: JobContext,
    shop: Shop,
    factor: Annotated[Decimal, Arg(help="Multiplies every price.", min_value="0.5", max_value="2")] = Decimal("1.05"),
) -> int:
    """Lists the new prices of a shop, asks whether to publish them, and then changes them."""
    products = shop.products.order_by("sku")
    context.set_results_columns(_("SKU"), _("Price"), "New price")
    for product in products:
        context.add_results_row(product.sku, product.price, round(product.price * factor, 2))
    answer = context.ask(
        f"Publish {products.count()} prices of {shop}?",
        publish=Annotated[bool, Arg(help="The new prices are in the results.")],
        note=Annotated[str, Arg(max_length=200, help="It is kept in the log.")],
        default={"publish": False, "note": "Nobody has looked at them."},
        expires=dt.timedelta(days=2),
    )
    context.add_log(f"{answer.answered_by or 'Nobody'}: {answer.note or 'no note'}")
    if not answer.publish:
        return 0
    with transaction.atomic():
        for product in products.select_for_update():
            product.price = round(product.price * factor, 2)
            product.save(update_fields=["price"])
    return products.count()


def approval_of_write_off(user: Any, job_type: JobType[..., Any], arguments: dict[str, Any]) -> str | None:
    """Another user has to approve it from a hundred pieces on."""
    return "shop.change_product" if pieces_of(arguments["shop"]) >= 100 else None


@job(group="Catalogue", permission="shop.import_products", approval=approval_of_write_off)
def write_off_stock(context: JobContext, shop: Shop, reason: Annotated[str, Arg(max_length=200)]) -> int:
    """Sets the stock of all products of a shop to zero."""
    number = pieces_of(shop)
    shop.products.update(stock=0)
    context.add_log(f"{number} pieces written off: {reason}")
    return number


def pieces_of(shop: Shop) -> int:
    return int(shop.products.aggregate(pieces=Sum("stock"))["pieces"] or 0)


# For staff who have no terminal. Its errors are for scripts, so the form leaves that option out.
low_stock = job_of_command(
    "lowstock", title="Low stock", group="Catalogue", permission="shop.view_product", exclude=["--strict"]
)


@job(group="Catalogue", permission="shop.change_product", atomic="chunk", max_attempts=3)
def change_prices(
    context: JobContext,
    products: Selection[Product],
    percent: Annotated[int, Arg(min_value=-90, max_value=200, help="A negative number makes them cheaper.")],
) -> None:
    """Makes the chosen products dearer or cheaper. Each price is changed once, also if a worker is killed meanwhile."""
    for product in context.iterate(products.queryset(), chunk=100, text="products"):
        product.price = (product.price * (100 + percent) / 100).quantize(Decimal("0.01"))
        product.save(update_fields=["price"])


@job(group="Catalogue")
def end_of_day(context: JobContext) -> None:
    """Rebuilds the search index, and then lists what has to be ordered. The list waits for the index."""
    index, listing = chain(rebuild_search_index.bind(), low_stock.bind()).enqueue(by=context.user)
    context.add_log(f"Queued {index}, and {listing} after it")


@job(group="Catalogue", concurrency=100, max_attempts=3, timeout=10)
async def check_address(
    context: JobContext, address: Annotated[str, Arg(help="Of the site of a supplier.")] = "https://tea.example.com/"
) -> str:
    """Looks whether the site of a supplier answers. A hundred of these wait for their sites in one process.

    Here it only waits as long as a site would take.
    """
    seconds = random.uniform(0.2, 3)
    context.set_progress_text(f"waiting for {address}")
    await asyncio.sleep(seconds)  # in a real shop: await client.get(address)
    context.add_log(f"{address} answered after {seconds:.1f} s")
    return "answers"


@job(group="Catalogue")
def check_addresses(context: JobContext, number: Annotated[int, Arg(min_value=1, max_value=5000)] = 200) -> None:
    """Checks the sites of all suppliers, each in a job of its own."""
    addresses = [{"address": f"https://supplier{index}.example.com/"} for index in range(1, number + 1)]
    check_address.using(user=context.user).enqueue_many(addresses)
    context.add_log(f"{number} jobs will check one site each")
