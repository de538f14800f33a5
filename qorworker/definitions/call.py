"""A job type together with the arguments of one job that is not stored. All processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, TypeVar

if TYPE_CHECKING:
    from qorworker.definitions.job_type import JobType
    from qorworker.models.job import Job

R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Call(Generic[R_co]):
    """What ``JobType.bind`` returns: arguments that the form has cleaned, and the job type that takes them.

    Nothing is stored before it is enqueued. Each time it is enqueued it makes one more job. An upload is read then, so
    it must still be open.

    :ivar job_type: the job type, with the options that ``using`` has set.
    :ivar arguments: the cleaned arguments by name, those with a default included. Do not change what is in them: it is
        not cleaned again.
    """

    job_type: JobType[..., R_co]
    arguments: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"<Call of {self.job_type.name}, with {', '.join(self.arguments) or 'no arguments'}>"

    def enqueue(self) -> Job:
        """Store one job, which takes part in the transaction that is open.

        :returns: the job; for a unique job type perhaps the one that exists already (``job.is_existing``).
        :raises qorworker.exceptions.InvalidArguments: for values that cannot be stored, because they take too many
            bytes, for instance; nothing is stored.
        :raises qorworker.exceptions.AlreadyEnqueued: if it is unique, and its rule refuses a second job.
        :raises qorworker.exceptions.UnknownQueue: if the settings do not have its queue.
        """
        return self.job_type.enqueue_cleaned(self.arguments)

    async def aenqueue(self) -> Job:
        """Do what ``enqueue`` does, for coroutines."""
        return await self.job_type.aenqueue_cleaned(self.arguments)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} is never pickled: enqueue it, and pass the id of its job on.")
