"""A job type with an error does not stop the worker of all others; an error of the project does."""

import io

import pytest
from django.core import checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from qorworker import job
from qorworker.definitions.registry import registry
from qorworker.management import worker_command
from qorworker.management.commands import runworker

pytestmark = pytest.mark.django_db


@pytest.fixture
def broken(monkeypatch):
    """A type whose annotation cannot be resolved."""

    @job(name="testapp.broken")
    def broken(number: "Nowhere"):  # noqa: F821
        pass

    monkeypatch.setattr(registry, "_left_out", set())
    yield broken
    registry.unregister("testapp.broken")


@pytest.fixture
def check(monkeypatch):
    """Runs the system checks as ``runworker`` does; what it has said."""

    def run_check():
        command = runworker.Command(stderr=io.StringIO(), no_color=True)
        command.using = "default"
        command.check()
        return command.stderr.getvalue()

    return run_check


def test_a_broken_type_is_left_out_loudly(broken, check):
    before = registry.startable_names()
    said = check()
    assert "(qorworker.E003)" in said
    assert "No jobs of these types are started until that is mended: testapp.broken." in said
    assert set(before) - set(registry.startable_names()) == {"testapp.broken"}
    assert "testapp.broken" in registry.names()


def test_for_check_it_stays_an_error(broken):
    with pytest.raises(SystemCheckError, match=r"qorworker\.E003"):
        call_command("check")


def test_without_errors_nothing_is_left_out(check):
    assert "are started until" not in check()
    assert registry.startable_names() == registry.names()


def test_an_error_of_the_project_stops_the_worker(broken, check, monkeypatch):
    def failing(**kwargs):
        return [checks.Error("The project is wrong.", id="project.E001")]

    monkeypatch.setattr(
        checks.registry.registry, "registered_checks", {failing, *checks.registry.registry.registered_checks}
    )
    failing.tags = ()
    with pytest.raises(SystemCheckError, match=r"project\.E001"):
        check()
    assert "testapp.broken" in registry.startable_names()


@pytest.mark.parametrize(("user", "says"), [(0, True), (1000, False)])
def test_a_worker_that_runs_as_root_says_so(monkeypatch, user, says):
    monkeypatch.setattr("os.geteuid", lambda: user)
    command = runworker.Command(stderr=io.StringIO(), no_color=True)
    command.warn_of_root()
    assert ("runs as root" in command.stderr.getvalue()) is says


class TestInAProcessOfTheirOwn:
    """Where the fork server was forked early, the checks run in a fork, too."""

    @pytest.fixture
    def ran(self):
        """What a check of the project has noted in this process."""
        noted = []

        def check(app_configs, **options):
            noted.append("here")
            return [checks.Error("The project is broken.", id="shop.E001")] if "break" in noted else []

        checks.register(check)
        yield noted
        checks.registry.registry.registered_checks.remove(check)

    @pytest.fixture
    def command(self, monkeypatch):
        command = runworker.Command(stderr=io.StringIO(), no_color=True)
        command.using, command.fork_server = "default", object()
        return command

    def test_only_the_names_of_broken_types_come_back(self, broken, command, ran, monkeypatch):
        monkeypatch.setattr(worker_command, "call_in_fork", lambda check: ["testapp.broken"])
        command.check()
        assert ran == []
        assert "testapp.broken" not in registry.startable_names()

    def test_they_run_here_where_what_they_load_is_needed(self, command, ran):
        command.keeps_checked_modules = True
        command.check()
        assert ran == ["here"]

    def test_an_error_of_the_project_is_raised_here(self, command, ran, monkeypatch):
        monkeypatch.setattr(worker_command, "call_in_fork", lambda check: None)
        ran.append("break")
        with pytest.raises(SystemCheckError, match=r"shop\.E001"):
            command.check()
