"""The reports' job: no arguments, so the admin runs it with one click."""

from __future__ import annotations

import csv
import io

from django.db.models import Count, DecimalField, F, Sum
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_lazy as _

from example_project.newsletter.models import Subscriber
from example_project.shop.models import Shop
from qorworker import JobContext, job


@job(group="Reports", queue_name="reports", max_attempts=3)
def nightly_report(context: JobContext) -> None:
    """Counts products, stock and its value for each shop, and the subscribers of the newsletter.

    The figures are listed, and kept as a file.
    """
    worth = Coalesce(Sum(F("products__price") * F("products__stock")), 0, output_field=DecimalField())
    shops = Shop.objects.annotate(kinds=Count("products"), pieces=Coalesce(Sum("products__stock"), 0), worth=worth)
    shops = shops.order_by("name")  # grouping takes no heed of the model's ordering
    titles = (_("Shop"), _("Products"), _("Pieces"), _("Worth"))
    context.set_results_columns(*titles)
    report = io.StringIO()
    lines = csv.writer(report)
    lines.writerow(titles)
    for shop in context.track(list(shops), text="shop {index} of {total}"):
        row = (shop.name, shop.kinds, shop.pieces, f"{shop.worth:.2f}")
        context.add_results_row(*row)
        lines.writerow(row)
    context.add_file("report.csv", report)
    context.add_log(f"The newsletter has {Subscriber.objects.active().count()} subscribers")
