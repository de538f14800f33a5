"""Each check of the surroundings: what is fit, and what is not, with a remedy."""

from __future__ import annotations

import datetime as dt
from contextlib import contextmanager

import pytest
from django.db import connection

from qorworker.management.selftest import surroundings
from qorworker.management.selftest.surroundings import CHECKS, SILENCE, clock, durability, isolation, pool, silence
from qorworker.management.selftest.trial import Trial
from qorworker.management.selftest.verdicts import State, findings
from qorworker.models import database_now

pytestmark = pytest.mark.django_db


@pytest.fixture
def trial():
    return Trial("default", ["false"], {}, timeout=60)


def settings_are(monkeypatch, **values):
    """Have the server say that it has these settings."""
    before = surroundings.setting_of
    monkeypatch.setattr(surroundings, "setting_of", lambda trial, name: values.get(name) or before(trial, name))


def test_the_default_of_django_is_a_fit_level(trial):
    assert isolation(trial).state == State.OK


@pytest.mark.only_on("postgresql", "mysql")
def test_a_level_above_read_committed_is_a_warning_that_names_it(isolation, trial):
    verdict = surroundings.isolation(trial)
    assert (verdict.state == State.OK) is (isolation == "read committed")
    assert verdict.figures["level"].lower() == isolation
    assert isolation.upper() in verdict.text
    assert bool(verdict.remedy) is (isolation != "read committed")


def test_without_autocommit_nothing_is_kept(trial, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "AUTOCOMMIT", False)
    assert isolation(trial).state == State.FAILED


@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize(("level", "state"), [(0, State.WARNING), (1, State.OK), (2, State.OK)])
def test_sqlite_that_does_not_wait_for_the_disk_is_a_warning(trial, monkeypatch, level, state):
    monkeypatch.setattr(surroundings, "rows_of", lambda trial, sql: [(level,)])
    assert durability(trial).state == state


@pytest.mark.only_on("postgresql")
@pytest.mark.parametrize("name", ["fsync", "synchronous_commit"])
def test_postgresql_that_does_not_wait_for_the_disk_is_a_warning(trial, monkeypatch, name):
    settings_are(monkeypatch, **{name: "off"})
    verdict = durability(trial)
    assert verdict.state == State.WARNING
    assert f"({name}: off)" in verdict.text


@pytest.mark.only_on("mysql")
def test_mariadb_that_does_not_wait_for_the_disk_is_a_warning(trial, monkeypatch):
    settings_are(monkeypatch, innodb_flush_log_at_trx_commit="2")
    verdict = durability(trial)
    assert verdict.state == State.WARNING
    assert "innodb_flush_log_at_trx_commit: 2" in verdict.text


@pytest.mark.only_on("sqlite")
def test_sqlite_whose_transactions_do_not_begin_at_once_is_a_warning(trial, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {})
    verdict = pool(trial)
    assert verdict.state == State.WARNING
    assert '"transaction_mode": "IMMEDIATE"' in verdict.remedy


@pytest.mark.only_on("postgresql", "mysql")
def test_few_free_connections_are_a_warning_with_their_number(trial, monkeypatch):
    monkeypatch.setitem(surroundings.COUNTED, connection.vendor, lambda trial: (100, 97))
    verdict = pool(trial)
    assert (verdict.state, verdict.figures) == (State.WARNING, {"free": 3, "most": 100})
    assert verdict.text == "Of 100 connections to the server only 3 are free."


@pytest.mark.only_on("postgresql", "mysql")
def test_the_connections_in_use_are_counted(trial):
    most, used = surroundings.COUNTED[connection.vendor](trial)
    assert 1 <= used <= most


@pytest.mark.only_on("postgresql")
def test_a_pooler_is_a_warning(trial, monkeypatch):
    monkeypatch.setattr(surroundings, "is_pooled", lambda connection: True)
    verdict = pool(trial)
    assert verdict.state == State.WARNING
    assert "pooler" in verdict.text


@pytest.mark.parametrize(("ahead", "state"), [(-5, State.WARNING), (30, State.WARNING), (3600, State.FAILED)])
def test_a_clock_that_is_wrong_is_named_with_the_difference(trial, monkeypatch, ahead, state):
    monkeypatch.setattr(surroundings, "SECOND", 0.01)
    later = dt.timedelta(seconds=ahead)
    monkeypatch.setattr(surroundings, "database_now", lambda using: database_now(using) + later)
    verdict = clock(trial)
    assert verdict.state == state
    assert verdict.figures["skew"] == pytest.approx(ahead, abs=1)
    assert verdict.remedy


def test_a_clock_that_jumps_is_a_failure(trial, monkeypatch):
    monkeypatch.setattr(surroundings, "SECOND", 0.01)
    looks = iter([*[0] * 6, 90])
    monkeypatch.setattr(
        surroundings, "database_now", lambda using: database_now(using) + dt.timedelta(seconds=next(looks))
    )
    verdict = clock(trial)
    assert verdict.state == State.FAILED
    assert verdict.figures["drift"] == pytest.approx(90, abs=1)


@pytest.mark.only_on("sqlite")
def test_sqlite_has_no_connection_to_lose(trial):
    assert silence(trial).state == State.SKIPPED


@pytest.mark.only_on("postgresql", "mysql")
def test_a_silence_that_is_noticed_too_late_is_a_failure(transactional_db, trial, monkeypatch):
    monkeypatch.setattr(surroundings, "MARGIN", -100)
    [found] = findings([SILENCE], trial)
    assert found.verdict.state == State.FAILED
    assert found.verdict.text.startswith("The silence was not noticed for ")
    assert found.verdict.remedy == SILENCE.remedy


@pytest.mark.only_on("postgresql", "mysql")
def test_a_silence_that_is_none_is_a_failure(transactional_db, trial, monkeypatch):
    """The statement was answered: then nothing was tested."""

    @contextmanager
    def nothing(database):
        yield

    monkeypatch.setattr(surroundings, "silenced", nothing)
    assert silence(trial).state == State.FAILED


def test_each_has_a_remedy_and_a_name_of_its_own():
    assert all(check.remedy.endswith(".") for check in CHECKS)
    assert len({check.name for check in CHECKS}) == len(CHECKS)
