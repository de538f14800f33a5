"""Rules of schedules in words."""

import datetime as dt

import pytest
from django.utils import translation

from qorworker import At, Cron, Every
from qorworker.schedules.describe import describe


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (Every(minutes=15), "every 15 minutes"),
        (Every(seconds=1), "every second"),
        (Every(hours=1), "every hour"),
        (Every(minutes=90), "every 90 minutes"),
        (Every(days=1), "every 24 hours"),
        (Every(days=2), "every 2 days"),
        (Every(weeks=2), "every 2 weeks"),
        (Cron("* * * * *", "UTC"), "every minute (UTC)"),
        (Cron("*/5 * * * *", "UTC"), "every 5 minutes (UTC)"),
        (Cron("7 * * * *", "UTC"), "every hour at minute 07 (UTC)"),
        (Cron("@hourly", "UTC"), "every hour at minute 00 (UTC)"),
        (Cron("30 2 * * *", "Europe/Berlin"), "every day at 02:30 (Europe/Berlin)"),
        (Cron("@daily", "UTC"), "every day at 00:00 (UTC)"),
        (Cron("0 9 * * 1-5", "UTC"), "Monday to Friday at 09:00 (UTC)"),
        (Cron("0 9 * * mon,fri", "UTC"), "Monday and Friday at 09:00 (UTC)"),
        (Cron("0 9 * * 0", "UTC"), "Sunday at 09:00 (UTC)"),
        (Cron("0 9 * * 7", "UTC"), "Sunday at 09:00 (UTC)"),
        (Cron("0 9 1 * *", "UTC"), "on day 1 of each month at 09:00 (UTC)"),
        (Cron("0 9 L * *", "UTC"), "on the last day of each month at 09:00 (UTC)"),
        (Cron("0 9 1 1 *", "UTC"), "0 9 1 1 * (UTC)"),
        (Cron("*/7 1-5 * * 1,3", "UTC"), "*/7 1-5 * * 1,3 (UTC)"),
        (Cron("0 9 * * fri#1", "UTC"), "0 9 * * fri#1 (UTC)"),
        (Cron("H 3 * * *", "UTC"), "H 3 * * * (UTC)"),
        (At(dt.datetime(2027, 7, 1, 12, 30), "Asia/Tokyo"), "once, on July 1, 2027 12:30 (Asia/Tokyo)"),
    ],
)
def test_the_usual_shapes_are_told_as_people_say_them_and_others_as_they_are(rule, text):
    with translation.override("en"):
        assert describe(rule) == text


def test_the_clock_is_the_same_in_every_language():
    for language in ("en", "en-gb", "de", "fr", "ar", "ja"):
        with translation.override(language):
            told = describe(Cron("5 14 * * *", "UTC")), describe(At(dt.datetime(2027, 7, 1, 14, 5), "Asia/Tokyo"))
            assert all("14:05" in text for text in told), (language, told)
