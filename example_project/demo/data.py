"""What the demo starts with: two users, subscribers, shops, and a few jobs in different states."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser, Group, Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from example_project.newsletter.jobs import send_newsletter
from example_project.newsletter.models import Subscriber
from example_project.reports.jobs import nightly_report
from example_project.shop.jobs import import_products
from example_project.shop.models import Product, Shop
from qorworker import Calendar, Cron, Schedule, Secret
from qorworker.models import Job

SAMPLE = Path(__file__).parent / "sample" / "products.csv"
HOLIDAYS = SAMPLE.with_name("holidays.ics")
NAMES = ("Ada", "Ben", "Chloe", "Dara", "Emil", "Fay", "Gus", "Hana", "Ivo", "June", "Kim", "Lou", "Mia", "Ned", "Olga")

# An operator runs the catalogue's jobs and the report, and looks at everything, but sends no newsletter.
OPERATORS_MAY = (
    "qorworker.view_job",
    "qorworker.view_worker",
    "qorworker.run_job",
    "qorworker.abort_job",
    "qorworker.reschedule_job",
    "qorworker.retry_job",
    "qorworker.pause_queue",
    "qorworker.pause_job_type",
    "qorworker.view_job_arguments",
    "qorworker.view_job_log",
    "shop.view_shop",
    "shop.view_product",
    "shop.import_products",
)


def make_users() -> AbstractUser:
    """``admin`` and ``operator``, whose passwords are their names; returns the administrator."""
    operators, _ = Group.objects.get_or_create(name="Operators")
    operators.permissions.set(permission(name) for name in OPERATORS_MAY)
    operator = make_user("operator", is_staff=True)
    operator.groups.add(operators)
    return make_user("admin", is_staff=True, is_superuser=True)


def make_user(name: str, **fields: bool) -> AbstractUser:
    user, created = get_user_model().objects.get_or_create(username=name, defaults=fields)
    if created:
        user.set_password(name)
        user.save()
    return user


def permission(name: str) -> Permission:
    app_label, codename = name.split(".")
    return Permission.objects.get(content_type__app_label=app_label, codename=codename)


def make_rows() -> None:
    """Subscribers, shops and products; what is already there stays."""
    Subscriber.objects.bulk_create(
        [Subscriber(email=f"{name.lower()}@example.com", name=name) for name in NAMES], ignore_conflicts=True
    )
    for name in ("Berlin", "Lisbon", "Tartu"):
        shop, created = Shop.objects.get_or_create(name=name)
        if created:
            Product.objects.bulk_create(
                Product(shop=shop, sku=f"BOOK-{number:02}", name=f"Notebook {number}", price=number, stock=number * 10)
                for number in range(1, 21)
            )


def make_holidays() -> None:
    """Days on which no report is made: Sundays, and some of each year."""
    calendar, created = Calendar.objects.get_or_create(name="holidays", title="Public holidays", weekdays="7")
    if created:
        calendar.import_ics(HOLIDAYS.read_text(encoding="utf-8"))


def enqueue_jobs(user: AbstractUser) -> None:
    """Things to look at: a report, now and every night, an import with errors, a mail for tomorrow, one withdrawn."""
    if Job.objects.exists():
        return
    later = send_newsletter.using(user=user, run_after=timezone.now() + dt.timedelta(days=1))
    content, password = "Our new teas have arrived.", Secret(settings.NEWSLETTER_PASSWORD)
    nightly_report.using(user=user).enqueue()
    make_holidays()
    workdays = Cron("15 4 * * *", calendar="holidays", on_holiday="skip")
    Schedule.objects.create_for(nightly_report, workdays, name="The report of the night", by=user)
    import_products.using(user=user).enqueue(
        file=SimpleUploadedFile(SAMPLE.name, SAMPLE.read_bytes()), shop=Shop.objects.get(name="Berlin"), mode="add"
    )
    later.enqueue("Autumn teas", content, password)
    later.enqueue("Summer teas", content, password).cancel(by=user)
