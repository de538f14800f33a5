"""Behind a real PgBouncer that pools transactions: nothing of a worker's session reaches the site's connections."""

import shutil
import socket
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.db import connection, connections, transaction

from qorworker.database.connection import Database
from qorworker.database.session_limits import is_pooled
from tests.support import all_ended, ended, wait_until
from tests.testapp import jobs

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
SERVERS = 3  # connections that the pooler has to PostgreSQL
pytestmark = [
    pytest.mark.only_on("postgresql"),
    pytest.mark.process,
    pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is not installed"),
]
CONFIGURATION = """
[databases]
* = host={HOST} port={PORT} user={USER}{password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
logfile = {folder}/log
"""


@pytest.fixture(scope="module")
def pooler():
    """The port of a pooler in front of the test server."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)  # it refuses to run as root
        file = Path(folder) / "pgbouncer.ini"
        server = connection.settings_dict
        password = f" password='{server['PASSWORD']}'" * bool(server["PASSWORD"])
        file.write_text(CONFIGURATION.format(**server, password=password, port=port, size=SERVERS, folder=folder))
        process = subprocess.Popen([PROGRAM, "-u", "postgres", str(file)], stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
            yield port
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture
def pooled(pooler):
    """The connection of this thread goes through the pooler, as that of a site."""
    pooled = connections["default"]
    before = pooled.settings_dict
    pooled.close()
    pooled.settings_dict = {**before, "PORT": pooler}
    yield pooled
    pooled.close()
    pooled.settings_dict = before


def setting(name, among=connection):
    with among.cursor() as cursor:
        cursor.execute(f"SELECT current_setting('{name}')")
        return cursor.fetchone()[0]


def everywhere(query, among):
    """The answer of each connection that the pooler has to the server."""
    with ExitStack() as stack:
        rows = []
        for _ in range(SERVERS):
            client = among.copy()
            stack.callback(client.close)
            client.set_autocommit(False)
            with client.cursor() as cursor:
                cursor.execute(query)
                rows.append(cursor.fetchall())
        return rows


def test_jobs_run_and_nothing_is_left_in_the_sessions(start, pooled, pooler):
    worker = start(port=pooler, processes=1)
    assert ended(jobs.noop.enqueue()).status == "done"
    jobs.noop_again.enqueue_many([{} for _ in range(200)])
    all_ended()
    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        assert everywhere(f"SHOW {name}", pooled) == [[("0",)]] * SERVERS
    assert everywhere("SELECT pg_listening_channels()", pooled) == [[]] * SERVERS
    assert everywhere("SELECT name FROM pg_prepared_statements", pooled) == [[]] * SERVERS
    assert worker.said.count("polling instead") == 1
    assert "trying again" not in worker.said
    assert worker.stop() == 0


def test_an_idle_worker_finds_work_without_notifications(start, pooled, pooler):
    start(port=pooler, POLL_INTERVAL=600)
    for _ in range(3):
        assert ended(jobs.noop.enqueue()).status == "done"


@pytest.mark.django_db(transaction=True)
def test_the_parents_transactions_have_their_limits_and_keep_them_to_themselves(pooled):
    database = Database("default")
    with database.limited():
        assert database.call(0.0, lambda: setting("statement_timeout")) == "6500ms"
        assert database.call(0.0, lambda: setting("lock_timeout")) == "5s"
        assert database.call(0.0, in_a_transaction) == ["6500ms", "6500ms"]
    assert everywhere("SHOW statement_timeout", pooled) == [[("0",)]] * SERVERS


@pytest.mark.django_db(transaction=True)
def test_they_have_them_too_if_a_thread_sends_the_statement(pooled):
    database = Database("default")
    with database.limited():
        assert database.call(0.0, lambda: setting("statement_timeout"), lambda: None) == "6500ms"
        assert database.call(0.0, in_a_transaction, lambda: None) == ["6500ms", "6500ms"]
    assert everywhere("SHOW statement_timeout", pooled) == [[("0",)]] * SERVERS


def in_a_transaction():
    with transaction.atomic():
        return [setting("statement_timeout"), setting("statement_timeout")]


@pytest.mark.django_db(transaction=True)
def test_a_connection_through_a_pooler_is_told_from_one_of_ones_own(pooled):
    assert is_pooled(pooled)


@pytest.mark.django_db(transaction=True)
def test_a_connection_of_ones_own_is_told_from_one_through_a_pooler():
    assert not is_pooled(connection)
