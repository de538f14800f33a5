"""A job finds its database session as if it were new, whatever the job before did to it."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.db import connection

from tests.support import ended, log_of, running_worker
from tests.testapp import jobs

pytestmark = pytest.mark.process

postgresql, mysql, sqlite = (pytest.mark.only_on(vendor) for vendor in ("postgresql", "mysql", "sqlite"))


@pytest.fixture(scope="module")
def one_child(open_database, tmp_path_factory):
    with running_worker(folder=tmp_path_factory.mktemp("worker"), processes=1) as worker:
        yield worker


def ask(ledger, query: str) -> list[str]:
    job = ended(jobs.ask_sql.enqueue(ledger=str(ledger), query=query))
    assert job.status == "done", job.error
    return ledger.lines()[-1]


def changed(*cases: tuple[str, str]):
    return pytest.mark.parametrize(("statement", "query"), cases)


def is_as_before(ledger, statement: str, query: str) -> None:
    before = ask(ledger, query)
    jobs.run_sql.enqueue(statements=[statement])
    job = ended(jobs.run_sql.enqueue(statements=[statement], succeed=False))
    assert "after the statements" in job.error  # the second one found nothing of the first
    assert ask(ledger, query) == before


@postgresql
@changed(
    ("SET search_path TO pg_catalog", "SHOW search_path"),
    ("SET TIME ZONE 'Asia/Tokyo'", "SHOW TIME ZONE"),
    ("SET ROLE pg_monitor", "SELECT current_user"),
    ("SET SESSION AUTHORIZATION pg_monitor", "SELECT session_user"),
    ("SET statement_timeout = 1", "SHOW statement_timeout"),
    ("SET default_transaction_isolation = 'serializable'", "SHOW transaction_isolation"),
    ("SET default_transaction_read_only = on", "SHOW transaction_read_only"),
    ("SELECT set_config('shop.tenant', '7', false)", "SELECT coalesce(current_setting('shop.tenant', true), '')"),
    ("CREATE TEMP TABLE left_behind (id int)", "SELECT count(*) FROM pg_class WHERE relname = 'left_behind'"),
    ("PREPARE left_behind AS SELECT 1", "SELECT count(*) FROM pg_prepared_statements"),
    ("LISTEN left_behind", "SELECT count(*) FROM pg_listening_channels()"),
    ("DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1", "SELECT count(*) FROM pg_cursors"),
    ("SELECT pg_advisory_lock(4711)", "SELECT count(*) FROM pg_locks WHERE objid = 4711"),
    ("BEGIN", "SELECT now() = statement_timestamp()"),
)
def test_sessions_of_postgresql(one_child, transactional_db, ledger, statement, query):
    is_as_before(ledger, statement, query)


@mysql
@changed(
    ("SET SESSION sql_mode = ''", "SELECT @@sql_mode"),
    ("SET time_zone = '+09:00'", "SELECT @@time_zone"),
    ("SET NAMES latin1", "SELECT @@character_set_client, @@collation_connection"),
    ("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SELECT @@tx_isolation"),
    ("SET foreign_key_checks = 0", "SELECT @@foreign_key_checks"),
    ("SET @left_behind = 7", "SELECT coalesce(@left_behind, 'none')"),
    ("SET autocommit = 0", "SELECT @@autocommit"),
    ("SELECT GET_LOCK('left_behind', 1)", "SELECT coalesce(IS_USED_LOCK('left_behind'), 'free')"),
    ("USE mysql", "SELECT database()"),
    ("START TRANSACTION", "SELECT @@in_transaction"),
)
def test_sessions_of_mysql(one_child, transactional_db, ledger, statement, query):
    is_as_before(ledger, statement, query)


@mysql
def test_a_prepared_statement_of_mysql_is_gone(one_child, transactional_db):
    assert ended(jobs.run_sql.enqueue(statements=["PREPARE left_behind FROM 'SELECT 1'"])).status == "done"
    assert "Unknown prepared statement" in ended(jobs.run_sql.enqueue(statements=["EXECUTE left_behind"])).error


@sqlite
@changed(
    ("PRAGMA foreign_keys = OFF", "PRAGMA foreign_keys"),
    ("PRAGMA busy_timeout = 1", "PRAGMA busy_timeout"),
    ("PRAGMA query_only = ON", "PRAGMA query_only"),
    ("PRAGMA synchronous = OFF", "PRAGMA synchronous"),
    ("ATTACH DATABASE ':memory:' AS left_behind", "SELECT count(*) FROM pragma_database_list"),
    ("CREATE TEMP TABLE left_behind (id int)", "SELECT count(*) FROM sqlite_temp_master"),
    ("BEGIN IMMEDIATE", "SELECT 1"),
)
def test_sessions_of_sqlite(one_child, transactional_db, ledger, statement, query):
    is_as_before(ledger, statement, query)


@postgresql
def test_an_atomic_job_is_not_led_astray_by_the_search_path_of_another(one_child, transactional_db):
    ended(jobs.run_sql.enqueue(statements=["SET search_path TO pg_catalog"]))
    assert ended(jobs.atomic.enqueue(name="found")).status == "done"
    assert get_user_model().objects.filter(username="found").exists()


@mysql
def test_what_a_job_writes_is_committed_after_another_switched_that_off(one_child, transactional_db):
    job = ended(jobs.run_sql.enqueue(statements=["SET autocommit = 0"]))
    assert "left a transaction open" in " ".join(log_of(job))
    ended(jobs.creates_user.enqueue(name="committed"))
    assert get_user_model().objects.filter(username="committed").exists()


@postgresql
@pytest.mark.parametrize(("name", "value"), [("autocommit", "false"), ("read_only", "true")])
def test_the_side_of_the_driver_is_as_before(one_child, transactional_db, ledger, name, value):
    ended(jobs.raw_session.enqueue(ledger=str(ledger), name=name, value=value))
    ended(jobs.creates_user.enqueue(name=f"after {name}"))
    assert get_user_model().objects.filter(username=f"after {name}").exists()


@pytest.mark.only_on("postgresql", "mysql")
def test_a_session_without_leftovers_is_kept(one_child, transactional_db, ledger):
    query = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT connection_id()"}[connection.vendor]
    assert ask(ledger, query) == ask(ledger, query)


@pytest.mark.only_on("postgresql", "mysql")
@pytest.mark.parametrize("job_type", [jobs.count_asynchronously, jobs.count_in_a_thread])
def test_jobs_with_threads_go_on_after_the_database_was_restarted(one_child, transactional_db, ledger, job_type):
    assert ended(job_type.enqueue(ledger=str(ledger))).status == "done"
    end_other_sessions()
    assert ended(job_type.enqueue(ledger=str(ledger))).status == "done"
    first, second = ledger.lines()
    assert first == second  # by the same process


def test_a_block_that_a_thread_did_not_leave_costs_the_next_job_nothing(one_child, transactional_db, ledger):
    job = ended(jobs.leaves_a_block_in_a_thread.enqueue(ledger=str(ledger)))
    assert job.status == "done"
    assert "left a transaction open" in " ".join(log_of(job))
    job = ended(jobs.count_in_a_thread.enqueue(ledger=str(ledger)))
    assert job.status == "done", job.error
    first, second = ledger.lines()
    assert first[0] == second[0]  # the same process


def test_a_job_may_close_the_connection_of_the_driver(one_child, transactional_db, ledger):
    assert ended(jobs.closes_raw_connection.enqueue()).status == "done"
    assert ask(ledger, "SELECT 1") == ["1"]


def end_other_sessions() -> None:
    """What a restart of the server does to those who are connected."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return
        cursor.execute("SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()")
        for (number,) in cursor.fetchall():
            cursor.execute(f"KILL {number}")
