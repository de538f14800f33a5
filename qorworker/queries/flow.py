"""Which jobs and batches lead to a job or a batch, and which ones follow: as much as a picture can show. Web."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q

from qorworker.models.batch import Batch
from qorworker.models.dependency import Dependency
from qorworker.models.job import Job
from qorworker.models.job_queries import JobQuerySet

MOST = 60  # nodes
READ = 500  # dependencies of one step
Key = tuple[str, int]  # "job" or "batch", and its id
Edge = tuple[Key, Key]


@dataclass
class Flow:
    """Jobs and batches by their keys, and which of them come before which."""

    nodes: dict[Key, Job | Batch] = field(default_factory=dict)
    edges: set[Edge] = field(default_factory=set)
    is_cut: bool = False  # whether there are more than are in it

    def levels(self) -> dict[Key, int]:
        """Return for each node how many steps lead to it at most."""
        levels = dict.fromkeys(self.nodes, 0)
        for _round in levels:
            later = {after: levels[before] + 1 for before, after in self.edges if levels[before] >= levels[after]}
            if not later:
                break
            levels |= later
        return levels


def flow_of(root: Job | Batch, jobs: JobQuerySet, sees_batch: Callable[[Batch], bool]) -> Flow:
    """Return what leads to *root* and what follows it, directly or not.

    :param jobs: the jobs that the reader may see.
    :param sees_batch: whether the reader may see a batch.
    """
    collector = Collector(root, jobs, sees_batch)
    collector.walk(_before)
    collector.walk(_behind)
    return collector.flow


class Collector:
    """Collects the nodes that a reader may see, step by step."""

    def __init__(self, root: Job | Batch, jobs: JobQuerySet, sees_batch: Callable[[Batch], bool]) -> None:
        self.root, self.jobs, self.sees_batch = root, jobs, sees_batch
        self.flow = Flow({key_of(root): root})

    def walk(self, neighbours: Callable[[Collection[Job], Collection[Batch], str], Iterable[Edge]]) -> None:
        """Add what *neighbours* finds, and what it finds from there."""
        nodes, latest = self.flow.nodes, [self.root]
        while latest:
            found = list(neighbours(
                [node for node in latest if isinstance(node, Job)],
                [node for node in latest if isinstance(node, Batch)],
                self.jobs.db,
            ))  # fmt: skip
            new = self._load({key for edge in found for key in edge} - nodes.keys())
            room = MOST - len(nodes)
            self.flow.is_cut = self.flow.is_cut or len(new) > room or len(found) >= READ
            latest = new[:room]
            nodes |= {key_of(node): node for node in latest}
            self.flow.edges |= {edge for edge in found if edge[0] in nodes and edge[1] in nodes}

    def _load(self, keys: Collection[Key]) -> list[Job | Batch]:
        jobs, batches = ([pk for kind, pk in keys if kind == wanted] for wanted in ("job", "batch"))
        found: list[Job | Batch] = []
        if jobs:
            rows = self.jobs.filter(pk__in=jobs).without_return_value().defer("arguments", "meta")
            found += rows.order_by("pk")
        if batches:
            rows_of_batches = Batch.objects.using(self.jobs.db).filter(pk__in=batches).order_by("pk")
            found += [batch for batch in rows_of_batches if self.sees_batch(batch)]
        return found


def key_of(node: Job | Batch) -> Key:
    """Return the key of a node."""
    return ("batch" if isinstance(node, Batch) else "job"), node.pk


def _before(jobs: Collection[Job], batches: Collection[Batch], using: str) -> Iterable[Edge]:
    rows: Any = Dependency.objects.using(using)
    waiting = [job.pk for job in jobs if job.has_parents]
    if waiting:
        for parent, job in rows.filter(job_id__in=waiting).values_list("parent_id", "job_id")[:READ]:
            yield ("job", parent), ("job", job)
    for job in jobs:
        if job.callback_of_id is not None:
            yield ("batch", job.callback_of_id), ("job", job.pk)
    for batch in batches:
        if batch.spawned_by_id is not None:
            yield ("job", batch.spawned_by_id), ("batch", batch.pk)
        of_jobs = rows.filter(job__batch_id=batch.pk, job__has_parents=True).exclude(parent__batch_id=batch.pk)
        for parent in of_jobs.order_by().values_list("parent_id", flat=True).distinct()[:MOST]:
            yield ("job", parent), ("batch", batch.pk)


def _behind(jobs: Collection[Job], batches: Collection[Batch], using: str) -> Iterable[Edge]:
    rows: Any = Dependency.objects.using(using)
    awaited = [job.pk for job in jobs if job.has_dependents]
    if awaited:
        found = rows.filter(parent_id__in=awaited).values_list("parent_id", "job_id", "job__batch_id")
        for parent, job, batch in found[:READ]:
            yield ("job", parent), (("job", job) if batch is None else ("batch", batch))
    for job in jobs:
        if job.batch_id is not None:
            yield ("job", job.pk), ("batch", job.batch_id)
    if jobs:
        spawned = Batch.objects.using(using).filter(Q(spawned_by__in=[job.pk for job in jobs]))
        for job, batch in spawned.values_list("spawned_by_id", "pk")[:MOST]:
            yield ("job", job), ("batch", batch)
    for batch in batches:
        for pk in (batch.then_id, batch.otherwise_id):
            if pk is not None:
                yield ("batch", batch.pk), ("job", pk)
