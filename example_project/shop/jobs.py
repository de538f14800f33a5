"""The shop's jobs. Found when Django starts; called in a worker's child process."""

from __future__ import annotations

import codecs
import csv
import time
from decimal import Decimal
from typing import Annotated, Literal

from django import forms
from django.core.files.uploadedfile import UploadedFile

from example_project.shop.models import Product, Shop
from qorworker import Arg, Cell, JobContext, Unique, job

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
)
def import_products(
    context: JobContext,
    file: Annotated[UploadedFile, Arg(label="CSV file", help="In UTF-8, with the columns sku, name, price, stock.")],
    shop: Shop,
    mode: Annotated[Literal["add", "replace"], Arg(help="Replace also deletes what is not in the file.")] = "add",
    factor: Annotated[Decimal, Arg(help="Multiplies every price.", min_value="0.01")] = Decimal("1.00"),
) -> None:
    """Reads a CSV file and creates or updates the products of a shop.

    Rows with errors are listed and left out, the others are kept. Nothing is deleted if any row has an error.
    """
    rows = read_rows(file)
    context.add_log(f"Importing {len(rows)} rows into {shop}")
    good = set()
    for row in context.track(rows, text="row {index} of {total}"):
        known = Product.objects.filter(shop=shop, sku=row["sku"] or "").first()
        form = ProductRow(row, instance=known or Product(shop=shop))
        if form.is_valid():
            form.instance.price = round(form.instance.price * factor, 2)
            form.save()
            good.add(form.instance.pk)
        context.add_results_row(*(Cell(row[name] or "", error=" ".join(form.errors.get(name, []))) for name in COLUMNS))

    failed = len(rows) - len(good)
    if mode == "replace" and not failed:
        deleted, _ = shop.products.exclude(pk__in=good).delete()
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
    pause: Annotated[float, Arg(help="Seconds to rest after each product; a long one gives time to abort.")] = 0.0,
) -> None:
    """Writes the search text of every product anew."""
    products = list(Product.objects.select_related("shop"))
    for product in context.track(products, text="product {index} of {total}"):
        product.search_text = f"{product.sku} {product.name} {product.shop.name}".casefold()
        product.save(update_fields=["search_text"])
        time.sleep(pause)
    context.add_log(f"{len(products)} products can be found again")
