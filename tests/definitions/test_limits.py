"""What a limit may be, and the key that jobs share it by."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile, UploadedFile

from qorworker import Secret, job
from qorworker.definitions.limits import Rate, shown_key
from qorworker.exceptions import InvalidArguments, JobTypeError
from qorworker.models import Job
from tests.job_types import own_types  # noqa: F401
from tests.testapp.models import Shop

pytestmark = [pytest.mark.usefixtures("own_types"), pytest.mark.django_db, pytest.mark.once]


def declared(**chosen):
    @job(name="app.limited", **{"max_concurrency": 1} | chosen)
    def handler(
        number: int = 0,
        text: str = "",
        shop: Shop | None = None,
        price: Decimal = Decimal(1),
        token: Secret[str] = "",
        file: UploadedFile | None = None,
    ) -> None: ...

    return handler


@pytest.mark.parametrize(
    ("given", "rate", "shown"),
    [
        ("10/m", Rate(10, 60), "10/m"),
        ("1/s", Rate(1, 1), "1/s"),
        ("5/h", Rate(5, 3600), "5/h"),
        ("10000/d", Rate(10_000, 86_400), "10000/d"),
        ((3, timedelta(seconds=90)), Rate(3, 90), "3/90s"),
    ],
)
def test_a_rate_can_be_given_in_two_ways(given, rate, shown):
    assert declared(rate_limit=given).rate_limit == rate
    assert str(rate) == shown


def test_jobs_of_a_type_without_limits_have_no_key():
    @job(name="app.unlimited")
    def handler() -> None: ...

    assert handler.enqueue().limit_key == ""
    with pytest.raises(ValueError, match="no limit"):
        handler.using(concurrency_key="berlin")


def test_without_a_rule_all_jobs_of_a_type_share_one_key():
    assert {row.limit_key for row in declared().enqueue_many([{"number": 1}, {"number": 2}])} == {"app.limited/"}


@pytest.mark.parametrize(
    ("rule", "key"),
    [
        ("number", "7"),
        ("text", "Grün 🚀"),
        (["number", "text"], '[7, "Grün 🚀"]'),
        (lambda arguments: f"{arguments['number']}-{arguments['shop']}", "7-None"),
        (lambda arguments: arguments["number"] * 2, "14"),
    ],
)
def test_the_key_is_made_of_the_arguments_and_stored(rule, key):
    made = declared(concurrency_key=rule).enqueue(number=7, text="Grün 🚀")
    stored = Job.objects.get(pk=made.pk).limit_key
    assert stored.startswith("app.limited/")
    assert shown_key(stored) == (key if rule != ["number", "text"] else '[7, "Gr\\u00fcn \\ud83d\\ude80"]')


def test_a_row_counts_by_its_number():
    shop = Shop.objects.create(name="Berlin")
    assert shown_key(declared(concurrency_key="shop").enqueue(shop=shop).limit_key) == str(shop.pk)


@pytest.mark.parametrize(
    ("rule", "make", "other"),
    [
        ("price", lambda number: Decimal("1." + "0" * number), Decimal(2)),
        ("token", lambda number: "hunter2", "hunter3"),
        ("file", lambda number: SimpleUploadedFile("a.csv", b"1"), SimpleUploadedFile("a.csv", b"2")),
    ],
)
def test_what_means_the_same_shares_a_key_and_a_secret_is_not_in_it(rule, make, other):
    limited = declared(concurrency_key=rule)
    first, second, third = (limited.enqueue(**{rule: value}).limit_key for value in (make(1), make(2), other))
    assert first == second != third
    assert "hunter2" not in first


def test_a_key_can_be_given_with_the_job():
    assert shown_key(declared(concurrency_key="number").using(concurrency_key="x/Y").enqueue().limit_key) == "x/Y"
    with pytest.raises(ValueError, match="concurrency_key"):
        declared().using(concurrency_key=5)


@pytest.mark.parametrize("pair", [("Berlin", "berlin"), ("a", "a "), ("é", "e"), ("a" * 300, "a" * 301), ("%41", "A")])
def test_no_two_keys_are_confused_whatever_the_collation(pair):
    keys = [declared().using(concurrency_key=key).enqueue().limit_key for key in pair]
    assert len({key.casefold() for key in keys}) == 2
    assert all(key.isascii() and len(key) <= 401 for key in keys)


def test_a_key_that_cannot_be_worked_out_stores_nothing():
    with pytest.raises(InvalidArguments, match="KeyError"):
        declared(concurrency_key=lambda arguments: arguments["nothing"]).enqueue()
    with pytest.raises(JobTypeError, match="shopp"):
        declared(concurrency_key="shopp").enqueue()
    assert not Job.objects.exists()
