"""A worker learns that a file was written, or that it cannot learn it."""

import select
import subprocess
import sys

import pytest

from qorworker.system import file_watch
from qorworker.system.file_watch import FileWatch


@pytest.fixture
def watch():
    watch = FileWatch()
    yield watch
    watch.close()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "dätei"
    path.touch()
    return path


def is_readable(watch, seconds=0.0):
    return bool(select.select([watch], [], [], seconds)[0])


def test_a_write_of_another_process_is_noticed(watch, path):
    watch.arm([str(path)])
    assert not is_readable(watch)
    subprocess.run([sys.executable, "-c", f"open({str(path)!r}, 'ab').write(b'x')"], check=True)
    assert is_readable(watch, 20)


def test_writes_are_noticed_once_until_it_is_armed_anew(watch, path):
    watch.arm([str(path)])
    path.write_text("first")
    assert is_readable(watch)
    watch.clear()
    path.write_text("second")
    assert not is_readable(watch)
    watch.arm([str(path)])
    path.write_text("third")
    assert is_readable(watch)


def test_a_file_that_took_the_place_of_another_is_noticed_once_it_is_armed_anew(watch, path):
    watch.arm([str(path)])
    path.unlink()
    path.touch()
    watch.clear()
    watch.arm([str(path)])
    path.write_text("new")
    assert is_readable(watch)


def test_a_file_that_does_not_exist_is_refused(watch, path):
    with pytest.raises(FileNotFoundError):
        watch.arm([f"{path}-wal"])


def test_a_file_system_that_other_machines_may_write_to_is_refused(watch):
    with pytest.raises(OSError, match="another machine"):
        watch.arm(["/proc/self/status"])


def test_other_systems_have_no_such_watch(monkeypatch):
    monkeypatch.setattr(file_watch, "LINUX", False)
    with pytest.raises(OSError, match="inotify"):
        FileWatch()
