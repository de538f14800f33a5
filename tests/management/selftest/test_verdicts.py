"""Each check ends with a verdict, whatever happens in it."""

from __future__ import annotations

import pytest
from django.db import OperationalError, connection

from qorworker.management.selftest.trial import NotInTime, Trial
from qorworker.management.selftest.verdicts import Check, State, Verdict, findings

pytestmark = [pytest.mark.django_db, pytest.mark.once]


def found(run, timeout=60.0):
    [finding] = findings([Check("it", run, "Mend it.")], Trial("default", [], {}, timeout))
    return finding


def test_it_is_reported_with_its_name_and_its_figures():
    told = found(lambda trial: Verdict("Fine.", figures={"seconds": 1})).as_json()
    assert told.pop("seconds") >= 0
    assert told == {"name": "it", "state": "ok", "text": "Fine.", "remedy": "", "figures": {"seconds": 1}}


def test_a_failure_without_a_remedy_gets_that_of_its_check():
    assert found(lambda trial: Verdict("No.", State.FAILED)).verdict.remedy == "Mend it."
    assert found(lambda trial: Verdict("No.", State.FAILED, "Pray.")).verdict.remedy == "Pray."
    assert found(lambda trial: Verdict("So so.", State.WARNING)).verdict.remedy == ""


def test_what_does_not_happen_in_time_is_a_failure():
    def run(trial):
        raise NotInTime("Nothing came within 3 seconds.")

    verdict = found(run).verdict
    assert (verdict.state, verdict.text, verdict.remedy) == (State.FAILED, "Nothing came within 3 seconds.", "Mend it.")


def test_an_error_of_the_database_is_a_failure():
    def run(trial):
        with connection.cursor() as cursor:
            cursor.execute("SELECT nonsense")

    verdict = found(run).verdict
    assert verdict.state == State.FAILED
    assert "nonsense" in verdict.text


def test_a_lost_connection_is_a_failure_of_one_check(transactional_db):
    def run(trial):
        raise OperationalError("gone\naway")

    assert found(run).verdict.text == "The database did not carry out a statement: gone away"
    assert found(lambda trial: Verdict("Fine.")).verdict.state == State.OK


def test_without_time_no_check_is_run():
    verdict = found(lambda trial: pytest.fail("It was run."), timeout=0.0).verdict
    assert (verdict.state, verdict.text) == (State.FAILED, "There was no time left for it.")
