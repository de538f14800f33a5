"""The explanation of a failure: the error, its most likely meaning, the project's part of the traceback. Web."""

from __future__ import annotations

import re
import signal
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _

from qorworker.models import Attempt, Job, Outcome
from qorworker.status import JobStatus
from qorworker.system import memory

FRAME = re.compile(r'^  File "(?P<path>.+)", line (?P<line>\d+), in (?P<function>.+)$')
LIBRARIES = tuple(str(Path(sysconfig.get_path(name))) for name in ("stdlib", "purelib", "platlib"))
PACKAGE = str(Path(__file__).resolve().parent.parent)


@dataclass(frozen=True)
class Frame:
    """One call of a traceback."""

    path: str
    line: str
    function: str
    code: str

    @property
    def file(self) -> str:
        """Return the name of the file without its folders."""
        return Path(self.path).name

    @property
    def is_application(self) -> bool:
        """Return whether it is code of the project: not of Python, a library, or this package."""
        foreign = self.path.startswith(("<", PACKAGE, *LIBRARIES)) or "site-packages" in self.path
        return not foreign


@dataclass(frozen=True)
class Explanation:
    """The explanation of a failure for people."""

    kind: str  # the exception's class, or what happened to the process
    message: str
    hint: str = ""
    frames: list[Frame] = field(default_factory=list)
    traceback: str = ""

    @property
    def heading(self) -> str:
        """Return the last line of the traceback, as Python prints it."""
        return f"{self.kind}: {self.message}" if self.kind and self.message else self.kind or self.message

    @property
    def place(self) -> Frame | None:
        """Return the innermost frame of the project."""
        return self.frames[-1] if self.frames else None


def explain(job: Job, attempt: Attempt | None) -> Explanation | None:
    """Return the error of a job that failed or is about to try again; None if it has none."""
    failed_before = job.will_retry or (job.is_paused and job.error)
    if job.status not in (JobStatus.EXCEPTION, JobStatus.KILLED) and not failed_before:
        return None
    error = job.error or (attempt.error if attempt is not None else "")
    if not error and job.status == JobStatus.KILLED:
        return None
    traceback = getattr(attempt, "last_traceback", "")
    kind, message = split_error(error)
    frames = [frame for frame in frames_of(traceback) if frame.is_application]
    return Explanation(kind, message, hint_for(attempt), frames, traceback)


def split_error(error: str) -> tuple[str, str]:
    """Return an error such as "KeyError: 'sku'" as its class and its message; any other text is a message."""
    kind, colon, message = error.partition(": ")
    if colon and re.fullmatch(r"[A-Za-z_][\w.]*", kind):
        return kind, message
    return "", error


def hint_for(attempt: Attempt | None) -> str:
    """Explain what the outcome of *attempt* most likely means; empty if there is nothing to explain."""
    if attempt is None:
        return ""
    peak = " " + _("Its peak memory was %s.") % filesizeformat(attempt.peak_memory) if attempt.peak_memory else ""
    if attempt.outcome == Outcome.CRASHED:
        return _crash(attempt) + peak
    hints = {
        Outcome.LOST: _("The worker stopped answering. What the job had already changed stays changed."),
        Outcome.TIMEOUT: _("It was ended because it ran longer than its time limit."),
        Outcome.MEMORY: _("It was ended because it used more memory than its limit.") + peak,
        Outcome.BUDGET: _(
            "It was ended because it did more than its type allows. What it had already changed stays changed."
        ),
        Outcome.INTERRUPTED: _("The worker was shut down while the job ran."),
        Outcome.REFUSED: _("It was never started: nothing was changed by it."),
        Outcome.ROW_ERRORS: _("It ran to its end. The rows with errors are listed under Results."),
    }
    return hints.get(Outcome(attempt.outcome), "")


def _crash(attempt: Attempt) -> str:
    if attempt.signal == signal.SIGKILL and memory.probably_ran_out(attempt.peak_memory):
        return _("Its process was ended by signal 9 (SIGKILL), most likely because memory ran out.")
    if attempt.signal:
        return _("Its process was ended by signal %(number)s (%(name)s).") % {
            "number": attempt.signal,
            "name": _signal_name(attempt.signal),
        }
    if attempt.exit_code is not None:
        return _("Its process ended by itself with exit code %s, without reporting a result.") % attempt.exit_code
    return _("Its process ended without reporting a result.")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return _("unknown")


def frames_of(traceback: str) -> list[Frame]:
    """Return the frames of a printed traceback, outermost first."""
    lines = traceback.splitlines()
    frames = []
    for index, line in enumerate(lines):
        if match := FRAME.match(line):
            following = lines[index + 1] if index + 1 < len(lines) else ""
            code = following.strip() if following.startswith("    ") else ""
            frames.append(Frame(match["path"], match["line"], match["function"], code))
    return frames
