from __future__ import annotations

import pytest

from example_project.newsletter.jobs import send_newsletter
from example_project.newsletter.models import Delivery, Subscriber
from qorworker import InvalidArguments
from qorworker.models import Job, Outcome

PASSWORD = "letters"


@pytest.fixture
def subscribers(db, settings):
    settings.NEWSLETTER_PASSWORD = PASSWORD
    people = [Subscriber(email=f"{name}@example.com", name=name) for name in ("ada", "ben", "chloe")]
    Subscriber.objects.bulk_create([*people, Subscriber(email="gone@example.com", name="gone", active=False)])
    return [person.email for person in people]


def arguments(**changes):
    return {"subject": "Tea", "content": "It is ready.\nCome.", "password": PASSWORD, "pause": 0, **changes}


def test_every_active_subscriber_gets_one_mail(run, subscribers, mailoutbox):
    told = run(send_newsletter, **arguments())
    assert told.ending.outcome == Outcome.DONE
    assert [mail.to for mail in mailoutbox] == [[email] for email in subscribers]
    assert {(mail.subject, mail.body) for mail in mailoutbox} == {("Tea", "It is ready.\nCome.")}


def test_progress_and_log_follow_the_mails(run, subscribers):
    told = run(send_newsletter, **arguments())
    assert told.progress[-3:] == [33, 66, 100]
    assert told.log == [
        "Sending 'Tea' to 3 subscribers",
        *(f"Sent to {email}" for email in subscribers),
        "Finished sending",
    ]


def test_a_wrong_password_sends_nothing_and_fails(run, subscribers, mailoutbox):
    told = run(send_newsletter, **arguments(password="guessed"))
    assert told.ending.outcome == Outcome.FAILED
    assert told.ending.error == "PermissionError: The send password is wrong. No mail was sent."
    assert mailoutbox == []


def test_an_abort_stops_between_two_mails(run, subscribers, mailoutbox):
    told = run(send_newsletter, **arguments(), abort_after=1)
    assert told.ending.outcome == Outcome.ABORTED
    assert len(mailoutbox) == Delivery.objects.count() == 1


def test_a_retry_leaves_out_whoever_got_the_mail(run, subscribers, mailoutbox):
    run(send_newsletter, **arguments(), abort_after=1)
    told = run(Job.objects.get())
    assert told.ending.outcome == Outcome.DONE
    assert [mail.to for mail in mailoutbox] == [[email] for email in subscribers]


def test_the_next_newsletter_goes_to_everybody_again(run, subscribers, mailoutbox):
    run(send_newsletter, **arguments())
    run(send_newsletter, **arguments(subject="More tea"))
    assert len(mailoutbox) == 2 * len(subscribers)


def test_the_password_is_not_stored_in_clear(subscribers):
    job = send_newsletter.enqueue(**arguments())
    assert PASSWORD not in str(job.arguments)
    assert PASSWORD not in send_newsletter.arguments.summary(job.arguments)


@pytest.mark.parametrize(
    ("field", "value"), [("subject", ""), ("subject", "x" * 121), ("password", ""), ("pause", -1), ("pause", "soon")]
)
def test_bad_arguments_are_refused_by_name_and_store_nothing(db, field, value):
    with pytest.raises(InvalidArguments) as caught:
        send_newsletter.enqueue(**arguments(**{field: value}))
    assert set(caught.value.errors) == {field}
    assert not Job.objects.exists()
