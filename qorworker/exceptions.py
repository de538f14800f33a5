"""Every exception that qorworker raises on purpose. Used in all processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qorworker.models.job import Job


class QorWorkerError(Exception):
    """Base class of every error raised by qorworker."""


class JobTypeError(QorWorkerError):
    """A job type is declared in a way that cannot work; raised by ``@job`` where the code is imported."""


class UnknownJobType(QorWorkerError, LookupError):
    """No job type with this name is registered in this process."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"No job type is registered under the name {name!r}.")


class UnknownQueue(QorWorkerError, ValueError):
    """The queue is not one of those in QORWORKER["QUEUES"]."""


class UnsupportedByBackend(QorWorkerError):
    """The backend of the job's queue cannot do what was asked for; the message says what. Nothing was changed."""


class InvalidArguments(QorWorkerError, ValueError):
    """The arguments of a job do not fit its form. Nothing was stored.

    ``errors`` maps each field's name (``"__all__"`` for the form as a whole) to its messages.
    """

    def __init__(self, job_type: str, errors: Mapping[str, Sequence[str]]) -> None:
        self.job_type = job_type
        self.errors = {field: [str(message) for message in messages] for field, messages in errors.items()}
        told = "; ".join(f"{field}: {' '.join(messages)}" for field, messages in self.errors.items())
        super().__init__(f"Invalid arguments for {job_type}: {told}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.job_type, self.errors)


class InvalidSchedule(QorWorkerError, ValueError):
    """A schedule cannot be read, or would never fire. Nothing was stored."""


class InvalidPause(QorWorkerError, ValueError):
    """A queue or a job type cannot be paused like that. Nothing was stored."""


class InvalidRequest(QorWorkerError):
    """A worker cannot do what is asked of it: it has stopped, or is about to. Nothing was changed."""


class InvalidTransition(QorWorkerError):
    """The job is in a state in which this cannot be done; somebody else may have been faster. Nothing was changed."""

    def __init__(self, job_id: int | None, status: str, verb: str, message: str = "") -> None:
        self.job_id, self.status, self.verb = job_id, status, verb
        super().__init__(message or f"Job {job_id} is {status}: it is not possible to {verb} it. Nothing was changed.")


class ChangedMeanwhile(QorWorkerError):
    """Somebody else has given the job other arguments since it was read. Nothing was changed."""


class JobTimeout(QorWorkerError, TimeoutError):
    """The job has not ended within the time for which its end was waited for. It goes on."""

    def __init__(self, job_id: int, status: str, seconds: float) -> None:
        self.job_id, self.status, self.seconds = job_id, status, seconds
        super().__init__(f"Job {job_id} is still {status} after {seconds:g} seconds of waiting.")


class AlreadyEnqueued(QorWorkerError):
    """A job like this one is there, and the rule of its type allows no second. Nothing was stored or changed.

    ``job`` is the one that is there; None if it is gone again, or if a batch has the same job twice.
    """

    def __init__(self, job: Job | None, message: str) -> None:
        self.job, self.message = job, message
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.job, self.message)


class NoLongerAllowed(QorWorkerError):
    """Nobody who asked for the job may still run it. It was not started."""


class TooManyJobs(QorWorkerError):
    """A person has as many unfinished jobs as the setting ``JOBS_PER_USER`` allows. Nothing was stored."""


class JobAborted(BaseException):
    """Raised inside a handler when its job is being aborted, so that ``finally`` blocks run.

    Not an ``Exception``: a handler's own ``except Exception`` must not swallow it.
    """


class AttemptError(QorWorkerError):
    """An attempt that ended badly without an exception of its own; the classes below say how."""


class JobFailed(AttemptError):
    """The job has failed."""


class JobCancelled(AttemptError):
    """The job was withdrawn before it started."""


class JobRefused(AttemptError):
    """The job could not start: its arguments no longer fit, or its code is gone.

    A middleware raises it to end a job as failed without another attempt.
    """


class WorkerLost(AttemptError):
    """The process or the worker that ran the attempt ended without a word."""


class JobInterrupted(AttemptError):
    """The worker was shut down while the attempt ran."""


class TimeLimitExceeded(AttemptError):
    """The attempt took longer than its job type allows."""


class MemoryLimitExceeded(AttemptError):
    """The attempt needed more memory than its job type allows."""


class RowsWithErrors(AttemptError):
    """The handler returned, and rows of its results carry errors."""


class SecretsUnavailable(QorWorkerError):
    """A secret argument cannot be stored or read: the extra ``secrets`` is missing, or no key fits."""
