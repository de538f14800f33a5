"""Job types that can be rehearsed, run through real workers."""

import os
import threading
from contextlib import suppress
from pathlib import Path

from asgiref.sync import sync_to_async
from django.core.mail import send_mail
from django.db import connection, transaction

from qorworker import JobContext, job
from tests.testapp.models import Shop


def tell(ledger: str, *words: object) -> None:
    with Path(ledger).open("a") as file:
        file.write(" ".join(map(str, words)) + "\n")


@job(dry_run=True)
def rename_shops(context: JobContext, ledger: str) -> int:
    """Renames all shops in three ways, sends a mail, and says where it ran."""
    shop = Shop.objects.order_by("pk").first()
    shop.name = "first"
    shop.save()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE testapp_shop SET name = 'all'")
    transaction.on_commit(lambda: tell(ledger, "committed"))
    send_mail("Renamed", "…", "a@example.com", ["b@example.com"])
    context.add_log("renamed")
    context.add_results_row(context.is_dry_run)
    tell(ledger, "ran", os.getpid(), context.is_dry_run)
    return Shop.objects.filter(name="all").count()


@job(dry_run=True)
async def rename_shops_in_a_coroutine() -> None:
    await Shop.objects.aupdate(name="all")
    await sync_to_async(Shop.objects.create)(name="new")


@job(dry_run=True)
def leave_a_thread() -> None:
    """Tries to write from a thread, over and over, also after the end of its job."""

    def write() -> None:
        while True:
            with suppress(Exception):
                Shop.objects.create(name="late")

    Shop.objects.count()
    threading.Thread(target=write, daemon=True).start()


@job(dry_run=True)
def crash_in_the_middle() -> None:
    Shop.objects.update(name="all")
    os._exit(3)
