"""``python -m tests``: what it counts, and when it fails."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from tests import __main__ as suite
from tests.__main__ import Run

RECORD = '<testsuites><testsuite tests="10" failures="1" errors="2" skipped="3" /></testsuites>'


@pytest.fixture
def run_suite(monkeypatch, capsys):
    """Runs the suite with these runs instead of the real ones; the exit status and the last line."""
    monkeypatch.delenv("CI", raising=False)

    def run_suite(*runs: Run, options: tuple[str, ...] = ()) -> tuple[int, str]:
        monkeypatch.setattr(suite, "planned", lambda more: iter(runs))
        monkeypatch.setattr(suite, "carry_out", lambda run: None)
        monkeypatch.setattr("sys.argv", ["tests", *options])
        return suite.main(), capsys.readouterr().out.splitlines()[-1]

    return run_suite


def test_the_record_of_pytest_is_counted():
    run = Run("sqlite", [])
    suite.count(run, ElementTree.fromstring(RECORD))
    assert (run.passed, run.failed, run.skipped) == (4, 3, 3)


def test_the_last_line_sums_all_runs_up(run_suite):
    runs = Run("sqlite", [], passed=5), Run("browser", [], passed=2)
    assert run_suite(*runs) == (0, "7 passed, 0 failed")


def test_a_failure_in_any_run_is_the_exit_status(run_suite):
    runs = Run("sqlite", [], passed=5), Run("mariadb", [], status=1, failed=1, skipped=2)
    assert run_suite(*runs) == (1, "5 passed, 1 failed, 2 skipped")


def test_a_run_that_broke_down_fails_even_if_no_test_did(run_suite):
    assert run_suite(Run("sqlite", [], status=3))[0] == 1


@pytest.mark.parametrize(
    "incomplete", [Run("browser", [], left_out="no Chromium"), Run("sqlite", [], skipped=1)], ids=str
)
def test_what_was_left_out_fails_only_where_all_is_required(run_suite, monkeypatch, incomplete):
    assert run_suite(incomplete)[0] == 0
    assert run_suite(incomplete, options=("--require-all",))[0] == 1
    monkeypatch.setenv("CI", "true")
    assert run_suite(incomplete)[0] == 1


def test_nothing_collected_is_a_failure_unless_tests_were_chosen(run_suite):
    assert run_suite(Run("sqlite", [], status=5))[0] == 1
    assert run_suite(Run("sqlite", [], status=5), options=("-k", "something"))[0] == 0


def test_a_missing_driver_is_named(monkeypatch):
    monkeypatch.setattr(suite, "find_spec", lambda name: None)
    assert suite.missing_database("mariadb") == "its driver is not installed: pip install -e '.[mariadb]'"


def test_a_server_that_does_not_answer_is_told_with_the_reason(monkeypatch):
    monkeypatch.setattr(suite, "find_spec", lambda name: object())
    monkeypatch.setenv("QORWORKER_POSTGRESQL_PORT", "1")
    assert suite.missing_database("postgresql").startswith("no connection: ")


def test_without_xgettext_its_tests_are_left_out_and_told(monkeypatch):
    monkeypatch.setattr(suite, "missing_database", lambda name: "")
    assert [run.left_out for run in suite.planned([]) if run.name == "gettext"] == [suite.missing_gettext()]
    monkeypatch.setattr(suite.shutil, "which", lambda name: None)
    (left,) = (run for run in suite.planned([]) if run.name == "gettext")
    assert "left out: xgettext is not installed" in str(left)


def test_without_a_type_checker_its_tests_are_left_out_and_the_package_is_named(monkeypatch):
    monkeypatch.setattr(suite, "missing_database", lambda name: "")
    monkeypatch.setattr("tests.typing.CHECKERS", ("json", "no_such_checker"))
    (left,) = (run for run in suite.planned([]) if run.name == "types")
    assert "left out: not installed: no_such_checker; pip install -e '.[test]'" in str(left)


@pytest.mark.parametrize(("mark", "place"), suite.PLACES.values())
def test_no_test_with_a_mark_is_outside_its_place(mark, place):
    marked = [file for file in (suite.ROOT / "tests").rglob("*.py") if re.search(rf"mark\.{mark}\b", file.read_text())]
    assert marked
    assert [file for file in marked if not file.is_relative_to(suite.ROOT / place)] == []


def test_a_run_of_files_that_are_named_takes_no_others():
    (browser,) = (run for run in suite.planned(["tests/models"]) if run.name == "browser")
    assert browser.arguments == ["-m", "browser", "tests/models"]
