"""By which command line the fork server is started."""

import os
import subprocess
import sys

import pytest

from qorworker.worker import launch
from tests.support import ROOT


class TestTheCommandLine:
    @pytest.fixture
    def argv(self, monkeypatch):
        def set_argv(*argv, spec=None):
            monkeypatch.setattr(sys, "argv", list(argv))
            monkeypatch.setattr(sys.modules["__main__"], "__spec__", spec)
            return list(argv)

        return set_argv

    def test_a_script_is_started_by_its_absolute_path(self, argv, tmp_path, monkeypatch):
        (tmp_path / "manage.py").touch()
        monkeypatch.chdir(tmp_path)
        command = launch.same_command(argv("manage.py", "runworker", "--processes", "2"))
        assert command[0] == sys.executable
        assert command[-4:] == [str(tmp_path / "manage.py"), "runworker", "--processes", "2"]

    @pytest.mark.parametrize(("name", "module"), [("django.__main__", "django"), ("shop.manage", "shop.manage")])
    def test_a_module_is_started_by_its_name(self, argv, name, module):
        class Spec:
            pass

        spec = Spec()
        spec.name = name
        command = launch.same_command(argv("/somewhere/__main__.py", "runworker", spec=spec))
        assert command[-3:] == ["-m", module, "runworker"]

    def test_the_options_of_the_interpreter_are_kept(self):
        code = "from qorworker.worker import launch; print(launch.plain_command())"
        options = ["-P", "-O", "-W", "error", "-X", "dev"]
        command = subprocess.run(
            [sys.executable, *options, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
            text=True, check=True,
        ).stdout  # fmt: skip
        assert [option for option in ("'-P'", "'-O'", "'-Werror'", "'dev'") if option not in command] == []

    def test_a_program_with_arguments_of_its_own_is_not_started_again(self, argv, tmp_path):
        (tmp_path / "program.py").touch()
        argv(str(tmp_path / "program.py"), "--everything")
        assert launch.same_command(["manage.py", "runworker"]) is None

    def test_what_is_no_file_is_not_started_again(self, argv):
        assert launch.same_command(argv("-c", "runworker")) is None
