import importlib
import json
import logging
import sys

import pytest
from django.core.management.base import BaseCommand, CommandError

from qorworker import InvalidArguments, job_of_command
from qorworker.checks import check_arguments, check_commands
from qorworker.definitions.registry import registry
from qorworker.exceptions import CommandFailed, JobTypeError
from qorworker.execution.commands import run_command
from qorworker.execution.context import JobContext
from qorworker.execution.execute import execute
from qorworker.execution.messages import Work
from qorworker.models import Job, Outcome
from tests.commands import add_command

__all__ = ["add_command"]  # a fixture


@pytest.fixture
def run(add_command, transactional_db):
    """``run(handle, {"name": "Ann"})``: one attempt at a job of a command, and its log with levels."""

    def run(handle, values=(), build=lambda parser: parser.add_argument("--name"), **options):
        command = add_command("send", build, handle)
        job_type = job_of_command("send", name="test.send", **options)
        stored = job_type.arguments.dump(job_type.arguments.clean(dict(values)))
        sent = []
        ending = execute(Work(7, "test.send", json.dumps(stored), 1, options.get("max_attempts", 1), "t"), sent.append)
        return ending, [(each[3], each[4]) for each in sent if each[0] == "log"], command

    return run


class TestLog:
    def test_it_gets_what_the_command_writes(self, run):
        def handle(command, **options):
            command.stdout.write("one\ntwo")
            command.stderr.write("careful")
            command.stdout.write("begun, ", ending="")
            command.stdout.write("done", ending="")

        ending, log, _command = run(handle)
        assert ending.outcome == Outcome.DONE
        assert log == [(logging.INFO, "one"), (logging.INFO, "two"), (logging.WARNING, "careful"),
                       (logging.INFO, "begun, done")]  # fmt: skip

    def test_it_gets_what_the_command_returns_once(self, run):
        ending, log, _command = run(lambda command, **options: "3 sent")
        assert log == [(logging.INFO, "3 sent")]

    def test_it_has_no_colours(self, run):
        _ending, log, _command = run(lambda command, **options: command.stdout.write(command.style.ERROR("red")))
        assert log == [(logging.INFO, "red")]

    def test_the_streams_of_the_process_stay(self, run):
        seen = []
        before = sys.stdout, sys.stderr
        run(lambda command, **options: seen.append((sys.stdout, sys.stderr)))
        assert seen == [before]

    def test_it_hides_secrets(self, run):
        def handle(command, name, **options):
            command.stdout.write(f"with {name}")

        _ending, log, _command = run(handle, {"name": "swordfish"}, secrets=["--name"])
        assert log == [(logging.INFO, "with ••••••")]


class TestEnd:
    def test_a_command_error_is_the_error_without_a_traceback(self, run):
        def handle(command, **options):
            raise CommandError("No reports are due.", returncode=3)

        ending, _log, _command = run(handle, max_attempts=2)
        assert (ending.outcome, ending.error, ending.traceback) == (
            Outcome.FAILED, "No reports are due. (exit code 3)", "",
        )  # fmt: skip
        assert ending.exception_class == "django.core.management.base.CommandError"
        assert ending.delay is not None

    @pytest.mark.parametrize("code", [0, None])
    def test_an_exit_without_an_error_is_none(self, run, code):
        assert run(lambda command, **options: sys.exit(code))[0].outcome == Outcome.DONE

    @pytest.mark.parametrize(
        ("code", "error"),
        [(2, "The command ended with exit code 2."), ("Give up", "Give up (exit code 1)")],
    )
    def test_an_exit_with_an_error_is_one(self, run, code, error):
        ending, _log, _command = run(lambda command, **options: sys.exit(code))
        assert (ending.outcome, ending.error, ending.traceback) == (Outcome.FAILED, error, "")

    def test_another_exception_keeps_its_traceback(self, run):
        ending, _log, _command = run(lambda command, **options: {}["gone"])
        assert ending.error == "KeyError: 'gone'"
        assert "Traceback" in ending.traceback

    def test_arguments_that_a_changed_parser_refuses_are_an_error(self, run, add_command):
        run(lambda command, **options: None)
        with pytest.raises(CommandFailed, match="unrecognized"):
            run_command("send", ["--gone"])


def test_system_checks_are_skipped(run, monkeypatch):
    monkeypatch.setattr(BaseCommand, "check", lambda self, **kwargs: pytest.fail("checked"))
    assert run(lambda command, **options: None)[0].outcome == Outcome.DONE


def test_the_command_gets_its_arguments_and_those_of_the_code(run):
    def build(parser):
        parser.add_argument("--name")
        parser.add_argument("--loop", action="store_true")

    _ending, _log, command = run(None, {"name": "Ann"}, build, arguments=["--loop"])
    assert {**command.received, "name": "Ann", "loop": True, "verbosity": 1} == command.received


class TestDeclaration:
    def test_it_names_app_and_command(self, add_command):
        add_command("send_reports")
        job_type = job_of_command("send_reports", group="Mail", max_attempts=3)
        assert (job_type.name, job_type.title) == ("execution.send_reports", "Send reports") or job_type.name.endswith(
            ".send_reports"
        )
        assert (job_type.group, job_type.max_attempts) == ("Mail", 3)
        assert job_type.description == "Sends what is due."
        assert registry.get(job_type.name) is job_type

    def test_messages_name_its_line(self):
        job_type = job_of_command("gone")
        assert "job_of_command('gone')" in job_type.place
        assert f"{__file__}:" in job_type.place

    def test_two_of_one_name_are_refused(self):
        job_of_command("one", name="test.same")
        with pytest.raises(JobTypeError, match="Two job types"):
            job_of_command("two", name="test.same")

    @pytest.mark.parametrize("options", [{"colour": 1}, {"form": object}, {"arguments": "--loop"}, {"priority": 1000}])
    def test_wrong_options_are_refused(self, options):
        with pytest.raises(JobTypeError):
            job_of_command("send", **options)


def test_calling_it_runs_the_command(add_command):
    command = add_command("send", lambda parser: parser.add_argument("--name", default="Bob"))
    job_type = job_of_command("send")
    job_type(name="Ann")
    assert command.received["name"] == "Ann"
    with pytest.raises(InvalidArguments):
        job_type(nme="Ann")


def test_calling_it_with_a_context_writes_to_its_log(add_command):
    add_command("send", handle=lambda command, **options: "3 sent")
    sent = []
    context = JobContext(job_id=1, name="t", attempt=1, max_attempts=1, arguments={}, send=sent.append)
    job_of_command("send")(context)
    assert [record[4] for record in sent] == ["3 sent"]


def test_a_module_that_is_imported_again_declares_it_again(tmp_path, monkeypatch):
    (tmp_path / "jobs_of_a_test.py").write_text(
        "from qorworker import job_of_command\n\nsend = job_of_command('send', name='test.again')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("jobs_of_a_test")
    first = module.send
    importlib.reload(module)
    assert registry.get("test.again") is module.send is not first


@pytest.mark.django_db
def test_a_job_of_a_missing_command_is_refused_and_none_is_stored():
    job_type = job_of_command("gone", name="test.gone")
    with pytest.raises(JobTypeError, match="no app has a command “gone”"):
        job_type.enqueue()
    assert not Job.objects.exists()
    ending = execute(Work(7, "test.gone", "{}", 1, 1, "t"), lambda record: None)
    assert ending.outcome == Outcome.REFUSED
    assert "no app has a command “gone”" in ending.error


@pytest.mark.django_db
def test_it_is_limited_and_unique_by_its_arguments(add_command):
    add_command("send", lambda parser: parser.add_argument("--shop"))
    job_type = job_of_command("send", unique=True, max_concurrency=1, concurrency_key="shop")
    first = job_type.enqueue(shop="Berlin")
    assert job_type.enqueue(shop="Berlin").pk == first.pk
    assert job_type.enqueue(shop="Riga").pk != first.pk


@pytest.mark.django_db
def test_it_is_enqueued_as_any_other_type(add_command):
    add_command("send", lambda parser: parser.add_argument("--limit", type=int, default=5))
    job_type = job_of_command("send")
    job = job_type.using(priority=5).enqueue(limit=7)
    assert Job.objects.get(pk=job.pk).arguments == {"verbosity": "1", "limit": 7}
    with pytest.raises(InvalidArguments):
        job_type.enqueue(limit="many")
    assert Job.objects.count() == 1


class TestChecks:
    def messages(self):
        found = [*check_commands(), *check_arguments()]
        return {each.id: each for each in found if "job_of_command" in each.msg}

    def test_a_missing_command_is_a_warning_that_stops_nothing(self):
        job_of_command("gone")
        found = self.messages()
        assert list(found) == ["qorworker.W017"]
        assert "no app has a command “gone”" in found["qorworker.W017"].msg
        assert not found["qorworker.W017"].is_serious()

    def test_an_argument_without_a_field_is_an_error(self, add_command):
        add_command("send", lambda parser: parser.add_argument("--x", action="append", nargs=2))
        job_of_command("send")
        found = self.messages()
        assert list(found) == ["qorworker.E003"]
        assert "'--x'" in found["qorworker.E003"].msg
        assert "exclude" in found["qorworker.E003"].hint

    def test_a_command_that_fits_is_none(self, add_command):
        add_command("send")
        job_of_command("send")
        assert not self.messages()
