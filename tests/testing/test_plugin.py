"""The pytest plugin: its fixtures, and that nobody who does not use them notices it."""

import subprocess
import sys
import tomllib
from importlib import import_module

import pytest

from qorworker import testing
from tests.support import ROOT
from tests.testapp import jobs


def test_the_fixtures_are_the_helpers(run_job, drain_jobs, immediate_jobs):
    assert (run_job, drain_jobs, immediate_jobs) == (testing.run_job, testing.drain, testing.immediate_jobs)
    assert run_job(jobs.noop).status == "done"


def test_importing_the_plugin_loads_neither_django_nor_the_helpers():
    code = "import sys, qorworker.testing.plugin; print(*(n for n in sys.modules if n.startswith(('dj', 'qorworker'))))"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["qorworker", "qorworker.testing", "qorworker.testing.plugin"]


OWN_TEST = """
import pytest

@pytest.fixture
def run_job():
    return 7

def test_own(run_job):
    assert run_job == 7
"""


def test_a_project_without_pytest_django_is_left_alone(tmp_path):
    (tmp_path / "test_own.py").write_text(OWN_TEST)
    command = [sys.executable, "-m", "pytest", "-p", "no:django", "-p", "qorworker.testing.plugin", "test_own.py"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    told = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "1 passed" in told.stdout, told.stdout + told.stderr


def test_it_is_an_entry_point_under_the_name_of_its_module():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"qorworker.testing.plugin": "qorworker.testing.plugin"}
    assert import_module("qorworker.testing.plugin").pytest_configure


def test_every_helper_is_found_by_name_and_nothing_else():
    for name in testing.__all__:
        found = getattr(testing, name)
        assert getattr(found, "__name__", name) == name  # an answer such as NOBODY is no class, and has no name
    with pytest.raises(AttributeError, match="has no attribute 'run_jobs'"):
        _ = testing.run_jobs
