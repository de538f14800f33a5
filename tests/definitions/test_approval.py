"""What an approval is for: the same digest in each process, and from the request to the start on each database."""

import json
import os
import subprocess
import sys

import pytest
from django.db import connection

from qorworker import job
from qorworker.definitions.approval import code_digest, digest_of
from qorworker.models import Job
from tests.job_types import own_types  # noqa: F401

NUMBERS = [0, -0.0, 1, 1.0, 0.1 + 0.2, 1e16, 1.2345678901234568e18, 1e20, 1e23, 1.7976931348623157e308, 5e-324, -1e23,
           1e-7, 2**53 + 1, 2**64 + 1, 10**30, True, None]  # fmt: skip
TEXTS = ["", "é", "e\u0301", "\U0001f600", "\u2028", "\\", '"', "1e20", "\u00e4\u00f6", "{}"]


@pytest.mark.django_db
@pytest.mark.usefixtures("own_types")
@pytest.mark.parametrize("value", [*NUMBERS, *TEXTS, {"b": 1, "a": [1e23, {"é": 1.0, "": None}]}, []], ids=repr)
def test_it_outlives_the_database(value):
    taken = job(name="test.taken")(lambda: None)
    row = taken.enqueue()
    before = {"value": value, "aa": value, "b": [value]}
    Job.objects.filter(pk=row.pk).update(arguments=before)
    with connection.cursor() as cursor:
        cursor.execute("SELECT arguments FROM qorworker_job WHERE id = %s", [row.pk])
        [text] = cursor.fetchone()
    row.refresh_from_db()
    sent = json.loads(text if isinstance(text, str) else json.dumps(text))
    assert digest_of(taken, row.arguments) == digest_of(taken, before) == digest_of(taken, sent)


@pytest.mark.usefixtures("own_types")
@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (0, False), (1, "1"), (None, "null"), (1e23, 10**23 + 1), (1.5, 1), ([], {}), ("é", "e")],
)
def test_other_arguments_are_told_apart(one, other):
    taken = job(name="test.taken")(lambda: None)
    assert digest_of(taken, {"value": one}) != digest_of(taken, {"value": other})


SOURCE = """
def handler(kind: str) -> bool:
    def inner():
        return {number}
    return kind in {{"mail", "letter", "fax", "call", "note"}} and inner()
"""


def byte_code(number=1):
    names = {}
    exec(compile(SOURCE.format(number=number), "<nowhere>", "exec"), names)
    return names["handler"]


def test_without_its_text_a_function_is_told_by_its_byte_code():
    assert code_digest(byte_code()) == code_digest(byte_code())
    assert code_digest(byte_code(1)) != code_digest(byte_code(2))


def test_byte_code_is_the_same_in_every_process():
    script = f"""
from qorworker.definitions.approval import code_digest
names = {{}}
exec(compile({SOURCE.format(number=1)!r}, "<nowhere>", "exec"), names)
print(code_digest(names["handler"]))
"""
    digests = {
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in "12345"
    }
    assert len(digests) == 1
