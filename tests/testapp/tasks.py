"""Tasks as Django's documentation of ``django.tasks`` shows them, and some with types and options."""

import datetime as dt
import logging
import time
from decimal import Decimal
from pathlib import Path

from django.core.mail import send_mail

from tests.testapp.models import Shop

try:
    from django.tasks import task
except ImportError:
    from django_tasks import task

logger = logging.getLogger(__name__)


@task
def email_users(emails, subject, message):
    return send_mail(subject=subject, message=message, from_email=None, recipient_list=emails)


@task(priority=2, queue_name="mail")
def email_users_soon(emails, subject, message):
    return send_mail(subject=subject, message=message, from_email=None, recipient_list=emails)


@task(takes_context=True)
def email_users_in_context(context, emails, subject, message):
    logger.warning(f"Attempt {context.attempt} to send user email. Task result id: {context.task_result.id}.")
    return send_mail(subject=subject, message=message, from_email=None, recipient_list=emails)


@task()
def double_dictionary(key):
    return {key: key * 2}


@task
def shop_exists(shop_name):
    return Shop.objects.get(name=shop_name).name


@task
def typed(when: dt.datetime, factor: Decimal = Decimal("1.5"), *rest: int, note=None, unknown: object = None):
    """Takes what JSON cannot carry, if a form gives it."""
    return f"{type(when).__name__} {type(factor).__name__} {list(rest)} {note} {unknown}"


@task(takes_context=True)
def telling(context, path: str, gate: str = "") -> None:
    print("printed")
    context.job.add_log("by the job's context")
    context.job.set_progress(30)
    Path(path).write_text("begun")
    while gate and not Path(gate).exists():
        time.sleep(0.01)


@task
def positional(first, /, second, *, third=3):
    return [first, second, third]
