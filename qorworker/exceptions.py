"""Every exception that qorworker raises on purpose. All processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qorworker.models.job import Job


class QorWorkerError(Exception):
    """Base class of every error raised by qorworker."""


class JobTypeError(QorWorkerError):
    """A job type is declared in a way that cannot work. ``@job`` raises it where the code is imported."""


class UnknownJobType(QorWorkerError, LookupError):
    """No job type with this name is registered in this process."""

    def __init__(self, name: str, hint: str = "") -> None:
        self.name, self.hint = name, hint
        super().__init__(
            f"No job type is registered under the name {name!r}.{hint} Job types are found in the module “jobs”"
            " of each app in INSTALLED_APPS."
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.hint)


class NotMigrated(QorWorkerError):
    """The tables of qorworker are missing in the database *using*, or older than its code."""

    def __init__(self, using: str) -> None:
        self.using = using
        option = "" if using == "default" else f" --database {using}"
        super().__init__(
            f"The tables of qorworker are missing or older than its code; run: manage.py migrate qorworker{option}"
        )


class UnknownQueue(QorWorkerError, ValueError):
    """``QORWORKER["QUEUES"]`` does not have the queue."""


class UnsupportedByBackend(QorWorkerError):
    """The backend of the job's queue does not support the request. Nothing was changed."""


class InvalidArguments(QorWorkerError, ValueError):
    """The arguments of a job do not fit its form. Nothing was stored.

    ``errors`` maps each field's name (``"__all__"`` for the form as a whole) to its messages.
    """

    advice = ""  # for operators, beside the messages for users

    def __init__(self, job_type: str, errors: Mapping[str, Sequence[str]]) -> None:
        self.job_type = job_type
        self.errors = {field: [str(message) for message in messages] for field, messages in errors.items()}
        problems = "; ".join(f"{field}: {' '.join(messages)}" for field, messages in self.errors.items())
        super().__init__(f"Invalid arguments for {job_type}: {problems}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.job_type, self.errors)


class UploadsUnavailable(InvalidArguments):
    """The storage did not return an upload, but may later: a job with attempts left is tried again."""


class InvalidSchedule(QorWorkerError, ValueError):
    """A schedule cannot be read, or would never fire. Nothing was stored."""


class InvalidCalendar(QorWorkerError, ValueError):
    """Days off cannot be read or stored. Nothing was stored."""


class InvalidPause(QorWorkerError, ValueError):
    """A queue or a job type cannot be paused in this way. Nothing was stored."""


class InvalidRequest(QorWorkerError):
    """A worker cannot follow the request: it has stopped, or is about to. Nothing was changed."""


class InvalidTransition(QorWorkerError):
    """The job's status does not allow this, perhaps because another request was faster. Nothing was changed."""

    def __init__(self, job_id: int | None, status: str, verb: str, message: str = "") -> None:
        self.job_id, self.status, self.verb = job_id, status, verb
        super().__init__(message or f"Job {job_id} is {status}: it is not possible to {verb} it. Nothing was changed.")


class ChangedMeanwhile(QorWorkerError):
    """The job got other arguments or another time after it was read. Nothing was changed."""


class NothingToRepeat(QorWorkerError):
    """No row of the job's results can be repeated. Nothing was stored."""


class JobTimeout(QorWorkerError, TimeoutError):
    """The job has not ended within the time for which its end was awaited. It continues."""

    def __init__(self, job_id: int, status: str, seconds: float) -> None:
        self.job_id, self.status, self.seconds = job_id, status, seconds
        super().__init__(f"Job {job_id} is still {status} after {seconds:g} seconds of waiting.")


class BatchTimeout(QorWorkerError, TimeoutError):
    """The jobs of a batch have not all ended within the time for which that was awaited. They continue."""

    def __init__(self, batch_id: int, seconds: float) -> None:
        self.batch_id, self.seconds = batch_id, seconds
        super().__init__(f"Batch {batch_id} still has jobs that have not ended after {seconds:g} seconds of waiting.")


class AlreadyEnqueued(QorWorkerError):
    """A matching job exists, and the rule of its type allows no second one. Nothing was stored or changed.

    ``job`` is the existing one; None if it is gone again, or if a batch has the same job twice.
    """

    def __init__(self, job: Job | None, message: str) -> None:
        self.job, self.message = job, message
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.job, self.message)


class CommandFailed(QorWorkerError):
    """The management command of a job ended with an error: a ``CommandError``, or an exit code other than 0.

    ``returncode`` is what ``manage.py`` would exit with.
    """

    def __init__(self, message: str, returncode: int = 1) -> None:
        self.message, self.returncode = message, returncode
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.returncode)


class NoLongerAllowed(QorWorkerError):
    """No user who requested the job may still run it. It was not started."""


class MayNotApprove(QorWorkerError):
    """The user may not decide about the approval. Nothing was changed."""


class NotApproved(QorWorkerError):
    """What was approved is not what would run: the arguments or the code have changed. The job was not started."""


class TooManyJobs(QorWorkerError):
    """A user has as many unfinished jobs as the setting ``JOBS_PER_USER`` allows. Nothing was stored."""


class JobAborted(BaseException):
    """Raised inside a handler when its job is being aborted, so that ``finally`` blocks run.

    Not an ``Exception``: a handler's own ``except Exception`` must not swallow it.
    """


class AttemptError(QorWorkerError):
    """An attempt ended badly without an exception of its own; the classes below say how."""


class JobFailed(AttemptError):
    """The job has failed."""


class JobCancelled(AttemptError):
    """The job was cancelled before it started."""


class JobRefused(AttemptError):
    """The job could not start: its arguments no longer fit, or its code is gone.

    A middleware raises it to end a job as failed without another attempt.
    """


class WorkerLost(AttemptError):
    """The process or the worker that ran the attempt ended without a report."""


class JobInterrupted(AttemptError):
    """The worker was shut down while the attempt ran."""


class TimeLimitExceeded(AttemptError):
    """The attempt took longer than its job type allows."""


class MemoryLimitExceeded(AttemptError):
    """The attempt needed more memory than its job type allows."""


class BudgetExceeded(AttemptError):
    """The attempt would have done more than its job type allows: queries, mails, log lines or results rows.

    Raised inside its handler, where it happens, and again after it if the handler has suppressed it.
    """


class RehearsalRefused(AttemptError):
    """The job has done something that a rehearsal cannot take back. It was not carried out.

    The rehearsal fails, even if its handler suppresses the exception.
    """


class NotRehearsed(QorWorkerError):
    """The job was no rehearsal, or has not succeeded as one, so it cannot be run for real. Nothing was stored."""


class RowsWithErrors(AttemptError):
    """The handler returned, but rows of its results have errors."""


class NotAnswered(QorWorkerError):
    """Nobody answered the question of a job in time, or somebody declined to. Raised inside its handler.

    A handler that does not catch it has failed, and is not tried again by itself.
    """

    def __init__(self, message: str = "", key: str = "", *, is_declined: bool = False, reason: str = "") -> None:
        self.key, self.is_declined, self.reason = key, is_declined, reason
        super().__init__(message)


class SecretsUnavailable(QorWorkerError):
    """A secret argument cannot be stored or read: the extra ``secrets`` is missing, or no key fits."""


class Undeliverable(QorWorkerError):
    """A message could not be delivered. ``code`` is the status code of a webhook's answer; None if there was none."""

    def __init__(self, text: str, code: int | None = None) -> None:
        self.code = code
        super().__init__(text)
