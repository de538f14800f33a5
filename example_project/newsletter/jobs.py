"""The newsletter's job. Found when Django starts; called in a worker's child process."""

from __future__ import annotations

import time
from hmac import compare_digest
from typing import Annotated

from django.conf import settings
from django.core.mail import EmailMessage

from example_project.newsletter.models import Delivery, Subscriber
from qorworker import Arg, JobContext, Secret, job


@job(group="Marketing", permission="newsletter.send_newsletter", rate_limit="30/h", dry_run=True, max_mails=5_000)
def send_newsletter(
    context: JobContext,
    subject: Annotated[str, Arg(max_length=120)],
    content: Annotated[str, Arg(multiline=True, help="Plain text, sent to everybody as it is.")],
    password: Annotated[Secret[str], Arg(label="Send password", help="Guards against a newsletter sent by mistake.")],
    pause: Annotated[float, Arg(help="Seconds between two mails, to go easy on the mail server.", min_value=0)] = 0.2,
) -> None:
    """Sends one mail to every active subscriber.

    A retry goes on where the last attempt stopped: nobody gets the same newsletter twice.
    """
    if not compare_digest(password.get_secret_value().encode(), settings.NEWSLETTER_PASSWORD.encode()):
        raise PermissionError("The send password is wrong. No mail was sent.")

    subscribers = list(Subscriber.objects.active().not_reached_by(context.job_id))
    context.add_log(f"Sending {subject!r} to {len(subscribers)} subscribers")
    for subscriber in context.track(subscribers, text="mail {index} of {total}"):
        EmailMessage(subject, content, to=[subscriber.email]).send()
        Delivery.objects.create(job_id=context.job_id, subscriber=subscriber)
        context.add_log(f"Sent to {subscriber.email}")
        time.sleep(pause)
    context.add_log("Finished sending")


@job(group="Marketing", permission="newsletter.send_newsletter", max_attempts=3)
def send_offer(subscriber: Subscriber, subject: str, content: Annotated[str, Arg(multiline=True)]) -> str:
    """Sends one mail to one subscriber."""
    EmailMessage(subject, content.replace("{name}", subscriber.name), to=[subscriber.email]).send()
    return str(subscriber.email)


@job(group="Marketing", permission="newsletter.send_newsletter")
def report_mailing(context: JobContext) -> dict[str, int]:
    """Says how a mailing has ended. Runs by itself at the end of each."""
    batch = context.batch
    if batch is None:
        raise ValueError("This runs at the end of a mailing only.")
    for failed in batch.jobs.failed():
        context.add_log(f"Job {failed.pk}: {failed.error}")
    return batch.counts()


@job(group="Marketing", permission="newsletter.send_newsletter", max_attempts=3, dry_run=True)
def spring_mailing(
    context: JobContext,
    subject: Annotated[str, Arg(max_length=120)],
    content: Annotated[str, Arg(multiline=True, help="“{name}” stands for the name of the subscriber.")],
) -> int:
    """Sends an offer to every active subscriber, each in a job of its own.

    These jobs are a batch: one page has its progress, and the verbs for all of them.
    """
    calls = (
        send_offer.bind(subscriber=subscriber, subject=subject, content=content)
        for subscriber in Subscriber.objects.active()
    )
    batch = context.spawn(
        calls, f"Spring mailing: {subject}", then=report_mailing.bind(), otherwise=report_mailing.bind()
    )
    context.add_log(f"{batch.total} mails are on their way")
    return batch.total
