"""``runjob``: one job from the shell, its story on the screen, its outcome in the exit status."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from datetime import timedelta
from typing import Literal

import pytest
from django import forms
from django.core.management import CommandError, call_command
from django.db import OperationalError

from qorworker import Unique, job, job_of_command
from qorworker.definitions.registry import registry
from qorworker.management.commands import runjob
from qorworker.models import Job, LogLine, Worker, database_now
from tests.job_types import own_types  # noqa: F401
from tests.models.rows import make_job
from tests.support import MARK, ROOT, WITH_THE_TESTS, census, ended, environment, wait_until, with_status
from tests.testapp import jobs
from tests.testapp.models import Shop

pytestmark = [pytest.mark.process, pytest.mark.once]


def call(*options, given=""):
    """The exit status and what was said."""
    done = subprocess.run(
        [*WITH_THE_TESTS, sys.executable, "-m", "django", "runjob", *options],
        cwd=ROOT,
        env=environment(),
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout


@contextmanager
def running(*options, output):
    """The command, while it runs."""
    mark = f"{MARK}=runjob-{os.getpid()}"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*WITH_THE_TESTS, sys.executable, "-m", "django", "runjob", *options],
            cwd=ROOT, env=environment(mark), stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        for pid in census(mark):
            os.kill(pid, signal.SIGKILL)
        process.wait(10)


def test_a_job_runs_and_tells_its_story(transactional_db):
    status, said = call("testapp.story")
    assert status == 0, said
    job = Job.objects.get()
    assert (job.status, job.attempt) == ("done", 1)
    lines = said.splitlines()
    for text in ("INFO     by the context", "WARNING  to stderr", "INFO     from a subprocess"):
        assert sum(line.endswith(text) for line in lines) == 1, said
    assert any("three of four" in line for line in lines)
    assert lines[-1] == f"Job {job.pk} Story: Done."


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        (["testapp.fail", "--message", "no such luck"], 1, "Failed. ValueError: no such luck"),
        (["testapp.row_errors"], 1, "Failed. 1 of 2 rows have errors."),
        (["testapp.leave", "--how", "segfault"], 1, "signal 11 (SIGSEGV)"),
    ],
)
def test_a_job_that_fails_is_told_by_the_exit_status(transactional_db, options, status, told):
    got, said = call(*options)
    assert got == status, said
    assert told in said
    assert Job.objects.get().status == "exception"


def test_a_job_that_waits_for_another_attempt_is_neither_done_nor_failed(transactional_db, ledger):
    status, said = call("testapp.fails_slowly", "--ledger", str(ledger))
    assert status == 5, said
    assert Job.objects.get().status == "scheduled"


def test_options_are_typed_and_cleaned_like_a_form(transactional_db, ledger):
    shop = Shop.objects.create(name="Berlin")
    assert call("testapp.takes_shop", "--shop", str(shop.pk))[0] == 0
    assert call("testapp.write", "--ledger", str(ledger), "--number", "41")[0] == 0
    assert [int(line[1]) for line in ledger.lines()] == [41]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["testapp.write", "--number", "many"], "--number: Enter a whole number."),
        (["testapp.write", "--number", "1"], "--ledger: This field is required."),
        (["testapp.takes_shop", "--shop", "99999"], "--shop: "),
        (["testapp.gone"], "No job type is registered under the name 'testapp.gone'."),
        (["noop"], "Did you mean 'testapp.noop'? Job types are found in the module “jobs” of each app"),
        (["testapp.noop", "--unknown", "1"], "--unknown"),
        ([], "exactly one of them"),
        (["--id", "99999"], "There is no job 99999."),
        (["--again", "99999"], "There is no job 99999."),
        (["--id", "1", "--again", "1"], "exactly one of them"),
        (["--id", "one"], "invalid int value"),
    ],
)
def test_what_cannot_run_is_refused_and_nothing_is_stored(transactional_db, options, told):
    with pytest.raises(CommandError) as error:
        call_command("runjob", *options)
    assert told in str(error.value)
    assert not Job.objects.exists()


def test_help_is_made_from_the_form(transactional_db):
    status, said = call("testapp.write", "--help")
    assert status == 0
    assert "--ledger" in said
    assert "Number." in said
    status, said = call("--help")
    assert status == 0
    assert "testapp.story" in said
    assert "Uses every way to say something." in said
    assert "Exit status" in said


def test_help_says_what_is_required_and_that_rows_are_given_by_key(transactional_db):
    _status, said = call("testapp.surroundings", "--help")
    said = " ".join(said.split())
    assert "--shop SHOP Shop. Required. The id of a shop." in said
    assert "--also ALSO Also. The id of a shop. May be repeated." in said


def test_a_new_job_runs_in_the_surroundings_of_the_shell_whatever_workers_wait(start, monkeypatch):
    shop = Shop.objects.create(name="Berlin")
    worker = start()
    monkeypatch.setenv("QORWORKER_TEST_SHELL", "this one")
    for _round in range(3):
        status, said = call("testapp.surroundings", "--shop", str(shop.pk))
        assert status == 0, said
        assert said.count("this one") == 1
    assert [row.process_id for row in Worker.objects.all()] == [worker.pid], "no row is left of the command"


def test_ctrl_c_ends_following_and_says_that_the_job_goes_on(start, ledger, tmp_path):
    start()
    job = jobs.wait_for.enqueue(ledger=str(ledger))
    ledger.wait()
    output = tmp_path / "output"
    with running("--id", str(job.pk), output=output) as process:
        wait_until(lambda: "waiting" in output.read_text())
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert output.read_text().splitlines()[-1] == f"CommandError: Job {job.pk} continues; it runs elsewhere."
    assert with_status(job, "running")
    job.abort()
    assert with_status(job, "killed")


def test_a_reader_that_has_gone_ends_neither_job_nor_command(transactional_db, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.Popen(
        [*WITH_THE_TESTS, sys.executable, "-m", "django", "runjob", "testapp.story"],
        cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=writing, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(writing)
    _none, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    assert Job.objects.get().status == "done"


@pytest.mark.parametrize("from_input", [True, False], ids=["standard input", "a file"])
def test_a_secret_is_read_and_never_an_option(transactional_db, tmp_path, from_input):
    file = tmp_path / "password"
    file.write_text("hunter2hunter2\n")
    status, said = call(
        "testapp.secretive", "--password-file", "-" if from_input else str(file), given="hunter2hunter2\n"
    )
    assert status == 1
    assert "ValueError: wrong password ••••••" in said
    assert "hunter2" not in said


def test_a_secret_on_the_command_line_is_refused(transactional_db):
    with pytest.raises(CommandError, match="unrecognized arguments"):
        call_command("runjob", "testapp.secretive", "--password", "hunter2hunter2")
    assert not Job.objects.exists()


def test_a_secret_that_a_form_makes_one_when_it_is_created_is_no_option_either(own_types, capsys):  # noqa: F811
    class Form(forms.Form):
        password = forms.CharField()

        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.fields["password"].widget = forms.PasswordInput()

    @job(name="tests.makes_secret", form=Form)
    def makes_secret(password: str) -> None: ...

    with pytest.raises(CommandError, match="unrecognized arguments"):
        call_command("runjob", "tests.makes_secret", "--password", "hunter2hunter2")
    with pytest.raises(SystemExit):
        call_command("runjob", "tests.makes_secret", "--help")
    assert "--password-file" in capsys.readouterr().out


def test_a_secret_that_is_missing_and_cannot_be_asked_for_is_named(transactional_db):
    status, said = call("testapp.secretive")
    assert status == 1
    assert "--password: This field is required." in said
    assert not Job.objects.exists()


def test_a_secret_that_is_missing_is_asked_for(transactional_db, monkeypatch):
    asked = []
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    monkeypatch.setattr(runjob, "getpass", lambda prompt: asked.append(prompt) or "hunter2hunter2")
    given = runjob._given(registry.get("testapp.secretive"), {"argument_password": None})
    assert (asked, given) == (["Password: "], {"password": "hunter2hunter2"})


def test_a_file_that_cannot_be_read_is_named(transactional_db):
    with pytest.raises(CommandError, match=r"--password-file: .*No such file"):
        call_command("runjob", "testapp.secretive", "--password-file", "/nowhere")


def test_a_stored_job_is_run_by_its_number_even_before_its_time(transactional_db, ledger):
    job = jobs.write.using(run_after=timedelta(hours=1)).enqueue(ledger=str(ledger))
    assert call("--id", str(job.pk))[0] == 0
    assert ended(job).status == "done"
    assert len(ledger.lines()) == 1
    status, said = call("--id", str(job.pk))  # it has ended: told again, not run again
    assert status == 0
    assert f"Job {job.pk} Write: Done." in said
    assert len(ledger.lines()) == 1


def test_a_paused_job_is_not_run_by_its_number_either(transactional_db, ledger):
    job = jobs.write.enqueue(ledger=str(ledger))
    job.pause()
    with pytest.raises(CommandError, match=f"Job {job.pk} is paused") as refused:
        call_command("runjob", "--id", str(job.pk))
    assert refused.value.returncode == 5
    assert ledger.lines() == []


def test_again_runs_a_copy(transactional_db, ledger):
    job = jobs.write.enqueue(ledger=str(ledger), number=7)
    job.cancel()
    assert call("--id", str(job.pk))[0] == 4
    assert call("--again", str(job.pk))[0] == 0
    copy = Job.objects.exclude(pk=job.pk).get()
    assert (copy.rerun_of_id, copy.status, copy.arguments) == (job.pk, "done", job.arguments)
    assert [line[1] for line in ledger.lines()] == ["7"]


def test_it_follows_a_job_that_a_worker_runs(start, ledger, tmp_path):
    start()
    job = jobs.until.enqueue(gate=str(tmp_path / "gate"), ledger=str(ledger))
    ledger.wait()
    output = tmp_path / "output"
    with running("--id", str(job.pk), output=output) as process:
        (tmp_path / "gate").touch()
        assert process.wait(30) == 0
    assert "Done." in output.read_text()
    assert len(ledger.lines()) == 1


def test_what_a_job_says_cannot_rewrite_the_screen(transactional_db, capsys):
    job = jobs.noop.enqueue()
    Job.objects.filter(pk=job.pk).update(
        status="exception", finished_at=database_now("default"), error="bad\rDone.", progress_text="\x1b[2Jhalf"
    )
    LogLine.objects.create(
        job=job, number=1, attempt=1, at=job.enqueued_at, level=20, text="\x1b[31mred\x1b]0;title\x07"
    )
    with pytest.raises(SystemExit):
        call_command("runjob", id=job.pk)
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith(" INFO     \x1b[31mred\\u001b]0;title\\u0007\x1b[0m")
    assert said[1].endswith(r"\u001b[2Jhalf")
    assert said[2].endswith(r"Failed. bad\u000dDone.")


def test_what_a_stored_argument_says_cannot_either(transactional_db, own_types):  # noqa: F811
    @job(name="test.plain")
    def plain(mode: Literal["add", "replace"]) -> None: ...

    old = make_job(name="test.plain", arguments={"mode": "\x1b]0;title\x07"})
    with pytest.raises(CommandError, match="mode: Select a valid choice") as error:
        call_command("runjob", again=old.pk)
    assert r"\u001b]0;title\u0007" in str(error.value)
    assert "\x1b" not in str(error.value)


def test_it_follows_a_job_past_an_outage_of_the_database(transactional_db, monkeypatch, capsys):
    job, seen, real = jobs.noop.enqueue(), [], runjob.Printer.print_new
    Job.objects.filter(pk=job.pk).update(
        status="running", attempt_token="f" * 32, lease_expires_at=database_now("default")
    )

    def out_of_order(printer):
        seen.append(printer.job.status)
        if len(seen) in (2, 3):
            Job.objects.filter(pk=job.pk).update(
                status="done", attempt_token=None, lease_expires_at=None, finished_at=database_now("default")
            )
            raise OperationalError("server closed the connection unexpectedly")
        return real(printer)

    monkeypatch.setattr(runjob.Printer, "print_new", out_of_order)
    call_command("runjob", id=job.pk)
    assert set(seen) == {"running"}
    assert "Done." in capsys.readouterr().out


def test_two_at_once_run_a_job_once(transactional_db, ledger, tmp_path):
    job = jobs.until.enqueue(gate=str(tmp_path / "gate"), ledger=str(ledger))
    with (
        running("--id", str(job.pk), output=tmp_path / "one") as one,
        running("--id", str(job.pk), output=tmp_path / "two") as two,
    ):
        ledger.wait()
        (tmp_path / "gate").touch()
        assert (one.wait(30), two.wait(30)) == (0, 0)
    assert len(ledger.lines()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_job_and_command(transactional_db, ledger, tmp_path, number):
    output = tmp_path / "output"
    with running("testapp.family", "--ledger", str(ledger), output=output) as process:
        ledger.wait()
        process.send_signal(number)
        status = process.wait(60)
        assert census(f"{MARK}=runjob-{os.getpid()}") == []
    job = ended(Job.objects.get())
    assert (job.status, status) == ("exception", 1), output.read_text()
    assert job.error == "Interrupted because the worker was stopped."


def test_a_signal_puts_a_job_that_may_run_again_back(transactional_db, ledger, tmp_path):
    with running("testapp.wait_again", "--ledger", str(ledger), output=tmp_path / "output") as process:
        ledger.wait()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 5
    assert with_status(Job.objects.get(), "new").attempt == 0


def test_an_abort_from_elsewhere_ends_it(transactional_db, ledger, tmp_path):
    with running("testapp.wait_for", "--ledger", str(ledger), output=tmp_path / "output") as process:
        ledger.wait()
        Job.objects.get().abort()
        assert process.wait(60) == 3
    assert with_status(Job.objects.get(), "killed").attempts.count() == 1


def test_a_job_that_is_deleted_while_it_is_followed_is_told(transactional_db, ledger, tmp_path, start):
    start()
    job = jobs.wait_for.enqueue(ledger=str(ledger))
    ledger.wait()
    with running("--id", str(job.pk), output=tmp_path / "output") as process:
        wait_until(lambda: "waiting" in (tmp_path / "output").read_text())
        Job.objects.filter(pk=job.pk).delete()
        assert process.wait(30) == 1
    assert (tmp_path / "output").read_text().splitlines()[-1] == f"CommandError: Job {job.pk} was deleted meanwhile."


def test_a_job_that_a_limit_holds_is_told_and_left_queued(transactional_db, ledger):
    running, held = jobs.alone.enqueue_many([{"ledger": str(ledger)}] * 2)
    lease = {"lease_expires_at": database_now("default") + timedelta(days=1)}
    Job.objects.filter(pk=running.pk).update(status="running", attempt_token="f" * 32, **lease)
    status, said = call("--id", str(held.pk))
    told = f"Job {held.pk} stays queued: no more than 1 of testapp.alone may run at once, and these do: {running.pk}."
    assert (status, said.strip()) == (5, f"CommandError: {told}")
    assert with_status(held, "new").attempt == 0


def test_where_there_may_be_no_second_one_the_first_is_named(transactional_db, own_types):  # noqa: F811
    @job(name="only", unique=Unique(on_conflict="raise"))
    def only() -> None:
        pass

    first = only.enqueue()
    with pytest.raises(CommandError, match=f"already waiting as job #{first.pk}"):
        call_command("runjob", "only")
    assert Job.objects.count() == 1


def test_a_command_is_run_with_its_arguments(transactional_db, ledger):
    status, said = call("testapp.wait_with", "--ledger", str(ledger), "--seconds", "0")
    assert status == 0, said
    assert sum(line.endswith("INFO     nothing more") for line in said.splitlines()) == 1, said


def test_a_command_that_is_missing_stops_no_other_type(transactional_db, own_types):  # noqa: F811
    job_of_command("gone", name="test.gone")
    parser = runjob.Command().create_parser("manage.py", "runjob")
    assert parser.parse_args(["testapp.noop"]).job_type == "testapp.noop"
    with pytest.raises(CommandError, match="no app has a command “gone”"):
        call_command("runjob", "test.gone", skip_checks=True)
