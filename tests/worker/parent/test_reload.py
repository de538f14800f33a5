"""``runworker --reload``: which files are a reason to start again."""

import os
import sys
import time
from types import SimpleNamespace

import pytest

from qorworker.worker.parent import reload
from tests.support import ROOT, ended, running_worker, wait_until
from tests.testapp import jobs

WATCHES = """\
import sys
sys.path.insert(0, {root!r})
import watched
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""


class TestTheFiles:
    @pytest.fixture
    def look(self, monkeypatch):
        """``look(a=1)``: whether the worker stops when the files were modified at these times."""
        files, stops = {"a": 1}, []
        monkeypatch.setattr(reload.StatReloader, "snapshot_files", lambda self: list(files.items()))
        shutdown = SimpleNamespace(request=lambda: stops.append("stop"))
        supervisor = SimpleNamespace(code_changed=False, shutdown=shutdown, extra_duties=[])
        reload.stop_on_change(supervisor)

        def look_at(**modified_at):
            files.clear()
            files.update(modified_at)
            supervisor.extra_duties[0].work(0.0)
            return stops == ["stop"]

        return look_at

    def test_one_that_was_imported_later_is_no_change_until_it_is_modified(self, look):
        assert not look(a=1)
        assert not look(a=1, b=1)
        assert look(a=1, b=2)

    def test_one_that_was_deleted_is_a_change(self, look):
        assert look()

    def test_a_change_stops_the_worker_once(self, look):
        assert look(a=2)
        assert look(a=3)


@pytest.mark.process
def test_a_worker_starts_again_when_code_changes_and_not_before(transactional_db, tmp_path):
    program, watched = tmp_path / "program.py", tmp_path / "watched.py"
    program.write_text(WATCHES.format(root=str(ROOT)))
    watched.touch()
    with running_worker("--reload", folder=tmp_path, program=[sys.executable, str(program)]) as worker:
        for starts in (1, 2):
            assert ended(jobs.noop.enqueue()).status == "done"
            seen = worker.row().heartbeat_at
            wait_until(lambda seen=seen: worker.row().heartbeat_at > seen)  # it has looked at the files meanwhile
            assert worker.said.count("is ready") == starts
            if starts == 1:
                os.utime(watched, (time.time() + 10, time.time() + 10))
                wait_until(lambda: worker.said.count("is ready") == 2, why=lambda: worker.said)
