"""What a worker writes down is in the language of the project."""

import pytest

from tests.support import ended
from tests.testapp import jobs

pytestmark = [pytest.mark.process, pytest.mark.once]


def test_the_reason_of_a_failure_is_in_the_language_of_the_project(start, monkeypatch):
    monkeypatch.setenv("QORWORKER_TEST_LANGUAGE", "de")
    start(processes=1)
    assert ended(jobs.row_errors.enqueue()).error == "1 von 2 Zeilen mit Fehlern."  # its own process says so
    assert ended(jobs.leave.enqueue(how="os._exit")).error == "Der Prozess endete mit Exit-Code 0 ohne Ergebnis."
    assert ended(jobs.fail.enqueue()).error == "ValueError: no such luck"
