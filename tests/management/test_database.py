"""A database that does not answer, or has no tables of this version, is one sentence and no traceback."""

import os
import signal
import subprocess
import sys

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, router

from qorworker.exceptions import NotMigrated
from qorworker.models.tables import require_tables
from tests.proxy import FaultProxy
from tests.settings import ENGINE
from tests.support import ROOT, ended, environment, wait_until
from tests.testapp import jobs

COMMANDS = {"runworker": ["runworker"], "runjob": ["runjob", "testapp.noop"], "prunejobs": ["prunejobs"]}


def finished(command, **more):
    """The command, run on a database of its own."""
    return subprocess.run(
        [sys.executable, "-m", "django", *command],
        cwd=ROOT,
        env={**environment(), **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.django_db
def test_migrated_tables_are_those_of_the_code():
    require_tables("default")


@pytest.mark.once
@pytest.mark.parametrize("command", COMMANDS)
def test_a_database_that_does_not_exist_is_named_with_those_that_do(command, monkeypatch):
    with pytest.raises(CommandError, match=r"^--database names the database 'gone'; DATABASES has: default"):
        call_command(*COMMANDS[command], database="gone")
    monkeypatch.setattr(router, "db_for_write", lambda model: "gone")
    with pytest.raises(CommandError, match=r"^A router of DATABASE_ROUTERS names the database 'gone'"):
        call_command(*COMMANDS[command])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_missing_column_is_told_with_the_remedy(command):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE qorworker_worker RENAME COLUMN heeded TO heeded_before")
    try:
        with pytest.raises(NotMigrated):
            require_tables("default")
        with pytest.raises(CommandError, match=r"run: manage\.py migrate qorworker$"):
            call_command(*COMMANDS[command])
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE qorworker_worker RENAME COLUMN heeded_before TO heeded")


if ENGINE == "sqlite":

    @pytest.mark.parametrize("command", COMMANDS)
    def test_without_migrations_a_command_ends_with_one_sentence(command, tmp_path):
        result = finished(COMMANDS[command], QORWORKER_TEST_RUNNING_DATABASE=str(tmp_path / "empty.sqlite3"))
        assert result.returncode == 1
        assert "manage.py migrate qorworker" in result.stderr
        assert "Traceback" not in result.stderr

    @pytest.mark.parametrize("command", COMMANDS)
    def test_a_file_that_cannot_be_opened_ends_a_command_with_one_sentence(command, tmp_path):
        path = tmp_path / "gone" / "site.sqlite3"
        result = finished(COMMANDS[command], QORWORKER_TEST_RUNNING_DATABASE=str(path))
        assert result.returncode == 1
        assert f"CommandError: The SQLite file {path} cannot be written" in result.stderr
        assert "Traceback" not in result.stderr

else:

    @pytest.mark.django_db
    @pytest.mark.parametrize("command", ["runjob", "prunejobs"])
    def test_without_a_server_a_command_ends_with_one_sentence(command):
        result = finished(COMMANDS[command], QORWORKER_POSTGRESQL_PORT="1", QORWORKER_MARIADB_PORT="1")
        assert result.returncode == 1
        assert result.stderr.startswith("CommandError: The database 'default' did not carry out a statement:")
        assert len(result.stderr.splitlines()) == 1

    @pytest.mark.process
    @pytest.mark.parametrize("fault", ["refuse", "silence"])
    def test_a_worker_that_starts_before_its_server_waits_for_it(start, fault):
        with FaultProxy(int(connection.settings_dict["PORT"])) as proxy:
            getattr(proxy, fault)()
            worker = start(ready=False, port=proxy.port)
            wait_until(lambda: proxy.accepted > 1, 60, lambda: worker.said)
            proxy.restore()
            worker.wait_ready()
            assert ended(jobs.noop.enqueue()).status == "done"
        assert "Traceback" not in worker.said

    @pytest.mark.process
    def test_a_worker_that_waits_for_its_server_can_be_stopped(start):
        with FaultProxy(int(connection.settings_dict["PORT"])) as proxy:
            proxy.refuse()
            worker = start(ready=False, port=proxy.port)
            wait_until(lambda: proxy.accepted > 1, 60, lambda: worker.said)
            os.kill(worker.process.pid, signal.SIGINT)
            worker.exit_status(30)
        assert "Traceback" not in worker.said
