"""Signs of a worker for systemd and probes: when they begin, go on, and end."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from qorworker.system.service_manager import ServiceManager
from qorworker.worker.parent.life_signs import INTERVAL, LifeSigns
from tests.fixtures import open_database, start, transactional_db  # noqa: F401
from tests.support import wait_until


class Told(ServiceManager):
    def __init__(self, watchdog: float | None = None) -> None:
        self.watchdog, self.states = watchdog, []

    def tell(self, **state: object) -> None:
        self.states.append(state)


@pytest.mark.once
class TestSigns:
    def test_the_file_is_there_from_when_it_is_ready_until_its_end(self, tmp_path):
        file = tmp_path / "health"
        signs = LifeSigns(Told(), file)
        signs.check_file()
        signs.step(0, is_stopping=False)
        assert not file.exists()
        signs.ready()
        assert file.exists()
        signs.end()
        assert not file.exists()

    def test_each_sign_touches_it(self, tmp_path):
        signs = LifeSigns(Told(), tmp_path / "health")
        signs.ready()
        os.utime(signs.file, (1, 1))
        signs.step(0, is_stopping=True)
        assert signs.file.stat().st_mtime > 1

    def test_a_file_of_a_worker_before_is_no_sign_of_this_one(self, tmp_path):
        (tmp_path / "health").touch()
        LifeSigns(Told(), tmp_path / "health")
        assert not (tmp_path / "health").exists()

    def test_a_file_that_cannot_be_written_is_found_at_once(self, tmp_path):
        with pytest.raises(OSError, match="gone"):
            LifeSigns(Told(), tmp_path / "gone" / "health").check_file()

    def test_a_folder_that_goes_later_stops_nothing(self, tmp_path, caplog):
        folder = tmp_path / "run"
        folder.mkdir()
        signs = LifeSigns(Told(), folder / "health")
        folder.rmdir()
        signs.ready()
        signs.step(0, is_stopping=False)
        signs.end()
        assert "could not be touched" in caplog.text

    def test_the_service_manager_hears_once_that_it_stops(self):
        manager = Told()
        signs = LifeSigns(manager)
        signs.ready()
        for is_stopping in (False, True, True):
            signs.step(2, is_stopping=is_stopping)
        assert [sorted(state) for state in manager.states] == [
            ["READY", "STATUS"], ["STATUS", "WATCHDOG"], ["STOPPING"], ["STATUS", "WATCHDOG"], ["STATUS", "WATCHDOG"],
        ]  # fmt: skip
        assert manager.states[1]["STATUS"] == "Runs; 2 jobs are running."

    @pytest.mark.parametrize(("watchdog", "interval"), [(None, INTERVAL), (60.0, INTERVAL), (6.0, 2.0)])
    def test_they_come_often_enough_for_its_watchdog(self, watchdog, interval):
        assert LifeSigns(Told(watchdog)).interval == interval


@pytest.mark.process
@pytest.mark.once
def test_a_worker_tells_systemd_and_its_file_when_it_is_ready_and_when_it_stops(start, tmp_path):  # noqa: F811
    file: Path = tmp_path / "health"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(60)
        worker = start("--health-file", str(file), processes=1, variables={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        heard: list[bytes] = []

        def hear(state: bytes) -> bool:
            heard.append(channel.recv(200))
            return state in heard[-1]

        wait_until(lambda: hear(b"READY=1"), why=lambda: heard)
        wait_until(file.exists)
        assert worker.stop() == 0
        wait_until(lambda: hear(b"STOPPING=1"), why=lambda: heard)
        assert not file.exists()
