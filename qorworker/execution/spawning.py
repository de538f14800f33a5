"""Batches that a running job enqueues, each once however often it is attempted. Wherever a job runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qorworker.definitions.call import Call
    from qorworker.models import Batch, Job


def batch_of(job: Job, using: str) -> Batch | None:
    """Return the batch at whose end *job*, or the job that it repeats, runs, or else the one to which it belongs."""
    from qorworker.models import Batch, Job  # noqa: PLC0415 - projects import the context before models can be loaded

    pk, original = job.callback_of_id or job.batch_id, job.rerun_of_id
    while pk is None and original is not None:
        earlier = Job.objects.using(using).filter(pk=original).values_list("callback_of_id", "rerun_of_id")
        pk, original = earlier.first() or (None, None)
    return Batch.objects.using(using).filter(pk=pk).first() if pk is not None else None


def spawn(
    job: Job, spawned: set[str], calls: Iterable[Call[Any]], title: str, key: str, using: str, **callbacks: Any
) -> Batch:
    """Do what ``JobContext.spawn`` does.

    :param spawned: the keys of the batches that this attempt has spawned; this one is added.
    :param callbacks: *then* and *otherwise*.
    """
    from qorworker.actions import batching  # noqa: PLC0415 - as above
    from qorworker.models.batch import TITLE_CHARS  # noqa: PLC0415 - as above

    title = title or job.title[:TITLE_CHARS]
    key = key or title
    if key in spawned:
        raise ValueError(f"This attempt has spawned a batch with the key {key!r}: give the other one a key of its own.")
    batch = batching.spawn(job, calls, title, key, using, **callbacks)
    spawned.add(key)
    return batch
