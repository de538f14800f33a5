"""Every exception that qorworker raises on purpose. Used in all processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


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


class InvalidTransition(QorWorkerError):
    """The job is in a state in which this cannot be done; somebody else may have been faster. Nothing was changed."""

    def __init__(self, job_id: int | None, status: str, verb: str, message: str = "") -> None:
        self.job_id, self.status, self.verb = job_id, status, verb
        super().__init__(message or f"Job {job_id} is {status}: it is not possible to {verb} it. Nothing was changed.")


class JobAborted(BaseException):
    """Raised inside a handler when its job is being aborted, so that ``finally`` blocks run.

    Not an ``Exception``: a handler's own ``except Exception`` must not swallow it.
    """


class SecretsUnavailable(QorWorkerError):
    """A secret argument cannot be stored or read: the extra ``secrets`` is missing, or no key fits."""
