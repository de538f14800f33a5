"""What handlers print and log, by whatever way, lands in the log of their own job."""
# ruff: noqa: F811 - fixtures of another module

from __future__ import annotations

import io
import logging
import logging.handlers
import sys

import pytest

from qorworker.execution.output import LINE_BYTES, Capture, LogHandler
from qorworker.text.masking import Mask
from tests.fixtures import open_database, transactional_db  # noqa: F401
from tests.support import ended, log_of, running_worker, wait_until
from tests.testapp import jobs


class Context:
    """Keeps what is added to the log."""

    def __init__(self, mask: Mask | None = None) -> None:
        self.lines: list[tuple[int, str]] = []
        self.mask = mask or Mask()

    def add_log(self, text: str, *, level: int = logging.INFO) -> None:
        self.lines.append((level, text))

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.lines]


@pytest.fixture
def context():
    return Context()


class TestStreams:
    def test_lines_of_both_streams_have_their_levels(self, context):
        with Capture()(context):
            print("one\ntwo")
            print("three", file=sys.stderr)
        assert context.lines == [(20, "one"), (20, "two"), (30, "three")]

    def test_a_stream_has_what_a_text_stream_has(self, context):
        with Capture()(context):
            sys.stdout.buffer.write("bytes é\n".encode())
            sys.stdout.writelines(["a\n", "b\n"])
            sys.stdout.reconfigure(encoding="latin-1", line_buffering=True)
            assert (sys.stdout.encoding, sys.stdout.isatty(), sys.stdout.writable()) == ("utf-8", False, True)
            assert (sys.stdout.fileno(), sys.stderr.fileno()) == (1, 2)
            assert (sys.stdout.name, sys.stdout.errors) == ("<stdout>", "backslashreplace")
            print("é \ud800")
        assert context.texts == ["bytes é", "a", "b", "é \\ud800"]

    def test_a_stream_may_be_wrapped_detached_and_closed(self, context):
        captured = Capture()
        with captured(context):
            sys.stdout = io.TextIOWrapper(sys.stdout.detach(), encoding="utf-8")
            print("wrapped")
            sys.stderr.close()
        with captured(context):
            print("again")
            print("as well", file=sys.stderr)
        assert context.texts == ["wrapped", "again", "as well"]

    def test_code_that_keeps_a_stream_writes_to_the_job_that_runs(self, context):
        captured, later = Capture(), Context()
        with captured(context):
            kept = sys.stdout
        with captured(later):
            print("through the one of before", file=kept)
        assert (context.texts, later.texts) == ([], ["through the one of before"])

    def test_a_line_without_an_end_is_kept_and_a_progress_bar_is_one_line(self, context):
        with Capture()(context):
            print("10 %\r20 %\r30 %\rdone\r")
            print("no end", end="")
        assert context.texts == ["done", "no end"]

    def test_a_secret_is_masked_although_it_comes_in_parts(self):
        context = Context(Mask(["hunter2-hunter2"]))
        with Capture()(context):
            print("x" * (LINE_BYTES - 5), end="")
            sys.stdout.flush()
            sys.stdout.buffer.write(b"hunter2-")
            sys.stdout.buffer.write(b"hunter2" + b"y" * LINE_BYTES)
        assert "hunter2" not in "".join(context.texts)


class TestLogging:
    @pytest.fixture
    def loggers(self):
        """A project's loggers: one that does not propagate and has a console, one that has both, one with a file."""
        before = logging.root.handlers[:]
        alone, both = logging.getLogger("tests.alone"), logging.getLogger("tests.both")
        console = logging.StreamHandler(sys.__stderr__)
        console.setLevel(logging.INFO)
        alone.addHandler(console)
        alone.propagate = False
        both.addHandler(console)
        last_resort = logging.lastResort
        for logger in (alone, both):
            logger.setLevel(logging.DEBUG)
        yield alone, both
        for logger in (alone, both):
            logger.handlers.clear()
            logger.setLevel(logging.NOTSET)
            logger.propagate = True
        logging.root.handlers[:] = before
        logging.lastResort = last_resort

    def test_each_record_lands_once_with_its_level(self, loggers, context):
        captured = Capture()
        captured.replace_console()
        with captured(context):
            for logger in loggers:
                logger.info("some %s", "information")
                logger.error("an error")
        assert context.lines == [(20, "some information"), (40, "an error")] * 2

    def test_the_level_of_the_console_counts_where_nothing_propagates(self, loggers, context):
        captured = Capture()
        captured.replace_console()
        with captured(context):
            for logger in loggers:
                logger.debug("a detail")
        assert context.texts == ["a detail"]  # of the one that propagates

    def test_handlers_that_are_no_consoles_stay(self, loggers, tmp_path):
        file = logging.FileHandler(tmp_path / "log")
        loggers[0].addHandler(file)
        Capture().replace_console()
        assert file in loggers[0].handlers
        assert isinstance(loggers[0].handlers[0], LogHandler)
        file.close()

    @pytest.mark.parametrize("propagates", [True, False])
    def test_what_a_handler_keeps_back_lands_in_the_log_of_its_own_job(self, loggers, context, propagates):
        logger = loggers[0]
        logger.propagate = propagates
        kept_back = logging.handlers.MemoryHandler(100, target=logger.handlers[0])
        logger.handlers[:] = [logging.handlers.MemoryHandler(100, target=kept_back)]
        captured, other = Capture(), Context()
        captured.replace_console()
        with captured(context):
            logger.info("of the first job")
        with captured(other):
            logger.error("of the second job")  # at which such a handler writes all that it has
        assert (context.texts, other.texts) == (["of the first job"], ["of the second job"])

    def test_a_handler_that_fails_to_write_what_it_keeps_back_fails_no_job(self, loggers, context, monkeypatch):
        kept_back = logging.handlers.MemoryHandler(100, target=loggers[0].handlers[0])
        loggers[0].handlers[:] = [kept_back]
        captured = Capture()
        captured.replace_console()
        monkeypatch.setattr(kept_back, "flush", lambda: 1 / 0)
        with captured(context):
            loggers[0].info("kept back")
        assert captured.context is None
        monkeypatch.undo()

    def test_filters_of_the_console_stay(self, loggers, context):
        loggers[0].handlers[0].addFilter(lambda record: "password" not in record.getMessage())
        captured = Capture()
        captured.replace_console()
        with captured(context):
            loggers[0].info("the password is …")
        assert context.texts == []


@pytest.fixture(scope="module")
def one_child(open_database, tmp_path_factory):
    with running_worker(folder=tmp_path_factory.mktemp("worker"), processes=1) as worker:
        yield worker


@pytest.mark.process
def test_a_subprocess_may_be_given_the_streams(one_child, transactional_db):
    job = ended(jobs.prints_through_subprocess.enqueue())
    assert job.status == "done", job.error
    assert sorted(log_of(job)) == ["by a subprocess", "bytes", "its errors"]


@pytest.mark.process
def test_what_is_printed_past_python_is_in_the_log_of_its_own_job(one_child, transactional_db):
    """Although the child has begun the next job long before its parent reads what the last one printed."""
    ended_jobs = [ended(job) for job in jobs.prints_past_python.enqueue_many([{"text": f"{n}"} for n in range(300)])]
    assert [log_of(job) for job in ended_jobs] == [[f"{number}"] for number in range(300)]


@pytest.mark.process
def test_work_that_goes_on_says_nothing_in_the_log_of_another_job(one_child, transactional_db):
    """Nor does it give away its secret anywhere."""
    first = jobs.goes_on_printing.enqueue(password="hunter2-hunter2")
    others = [jobs.flood.enqueue(lines=200) for _ in range(5)]
    for other in others:
        assert set(log_of(ended(other))) == {f"line {number}" for number in range(200)}
    assert ended(first).status == "done"
    wait_until(lambda: "which runs no job" in one_child.said or len(one_child.children()) == 1)
    assert "hunter2" not in "".join(log_of(first)) + one_child.said
    assert any("they end with its process" in line for line in log_of(first))
