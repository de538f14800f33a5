"""Stores batches: the calls are taken in portions, so that memory stays small however many there are. All processes."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from django.db import IntegrityError, router, transaction
from django.views.decorators.debug import sensitive_variables

from qorworker.actions.enqueue import announce, has_listeners, made_ready, store_ready, tell_stored
from qorworker.arguments import files
from qorworker.conf import settings
from qorworker.definitions.call import Call
from qorworker.definitions.job_type import JobType
from qorworker.definitions.registry import registry
from qorworker.definitions.unique import rule_of
from qorworker.exceptions import AlreadyEnqueued, InvalidArguments, QorWorkerError
from qorworker.models import Job, JobQuerySet, Origin
from qorworker.models.batch import Batch, BatchQuerySet, stored_key, title_problem
from qorworker.models.clock import database_now
from qorworker.models.dependents import SECONDS, settle
from qorworker.models.own import write_database
from qorworker.models.unique import conflict_of
from qorworker.queues import backend_of
from qorworker.signals import jobs_stored

AT_ONCE = 1_000  # calls in one portion, or jobs in one announcement
CALLBACKS = ("then", "otherwise")


@sensitive_variables()
def enqueue(
    batches: BatchQuerySet,
    title: str,
    calls: Iterable[Call[Any]],
    *,
    then: Call[Any] | None = None,
    otherwise: Call[Any] | None = None,
    by: Any = None,
    origin: str = Origin.CODE,
    **facts: Any,
) -> Batch:
    """Do what ``Batch.objects.enqueue`` does.

    :param batches: all batches of the database in which it is stored.
    :param origin: where the request comes from, for the audit.
    :param facts: values of other fields of the batch.
    """
    if problem := title_problem(title):
        raise ValueError(f"title: {problem}.")
    storing = Storing(batches.db, by, origin)
    callbacks = {name: call for name, call in zip(CALLBACKS, (then, otherwise), strict=True) if call is not None}
    for name, call in callbacks.items():
        storing.check_callback(name, call)
    if not isinstance(calls, Iterable) or isinstance(calls, (str, bytes, Mapping)):
        raise TypeError(f"calls: must be calls, as bind() returns them, not {type(calls).__name__}.")
    try:
        with transaction.atomic(using=storing.using):
            batch = Batch(title=title, created_by_id=getattr(by, "pk", None), **facts)
            batch.created_at = database_now(storing.using)
            batch.save(using=storing.using, force_insert=True)
            numbered = _numbered(calls)
            while portion := list(itertools.islice(numbered, AT_ONCE)):
                batch.total += storing.store(portion, batch.pk)
            for name, call in callbacks.items():
                setattr(batch, f"{name}_id", storing.store_callback(name, call, batch.pk).pk)
            batch.names = sorted(storing.names)
            batch.save(using=storing.using, update_fields=["total", "names", *callbacks])
            storing.announce_on_commit()
            if not batch.total:
                settle_now = partial(settle, storing.rows, [batch.pk], SECONDS)
                transaction.on_commit(settle_now, using=storing.using, robust=True)
    except BaseException:
        storing.discard_uploads()
        raise
    return batch


def spawn(job: Job, calls: Iterable[Call[Any]], title: str, key: str, using: str, **callbacks: Any) -> Batch:
    """Store a batch of a running job, unless an earlier attempt has stored the one with this key."""
    if problem := title_problem(key):
        raise ValueError(f"key: {problem}.")
    batches = Batch.objects.using(using)
    if (existing := _existing(batches, job, key)) is not None:
        return existing
    facts: dict[str, Any] = {"spawned_by_id": job.pk, "spawn_key": stored_key(key)}
    try:
        with transaction.atomic(using=using):
            return enqueue(batches, title, calls, by=job.created_by, **callbacks, **facts)
    except IntegrityError:  # an attempt that lost its job was faster
        if (existing := _existing(batches, job, key)) is None:
            raise
        return existing


def _existing(batches: BatchQuerySet, job: Job, key: str) -> Batch | None:
    existing = batches.spawned_by(job.pk, key).first()
    if existing is not None:
        existing.is_existing = True
    return existing


def rerun(batch: Batch, *, by: Any = None, origin: str = Origin.CODE) -> Batch:
    """Do what ``Batch.rerun`` does."""
    using = write_database(batch)
    jobs = Job.objects.using(using)
    callbacks = {}
    for name in CALLBACKS:
        job = jobs.filter(pk=getattr(batch, f"{name}_id")).first()
        callbacks[name] = _again(job, using, callback=True) if job is not None else None
    with transaction.atomic(using=using):
        calls = _all_again(jobs.filter(batch_id=batch.pk), using)
        made = enqueue(
            Batch.objects.using(using), batch.title, calls, **callbacks, by=by, origin=origin, rerun_of=batch
        )
        if not made.total:
            raise ValueError(f"Batch {batch.pk} has no job that can run again. Nothing was stored.")
    return made


def _all_again(jobs: JobQuerySet, using: str) -> Iterator[Call[Any]]:
    last = 0
    while some := list(jobs.filter(pk__gt=last).order_by("pk")[:AT_ONCE]):
        last = some[-1].pk
        for job in some:
            with suppress(QorWorkerError):
                yield _again(job, using)


def _again(job: Job, using: str, *, callback: bool = False) -> Call[Any]:
    """Return a call that makes a job like *job*, as ``Job.rerun`` does."""
    job_type = registry.get(job.name).using(rerun_of=job, database=using, meta=job.meta, dry_run=job.is_dry_run)
    if not callback and job.has_parents:
        job_type = job_type.using(after=list(job.parents), after_failure="run")
    if job.queue_name in settings.QUEUES:
        job_type = job_type.using(queue_name=job.queue_name)
    return Call(job_type, job_type.arguments.clean(job_type.arguments.reuse(job.current_arguments, {})))


def _numbered(calls: Iterable[Call[Any]]) -> Iterator[tuple[int, Call[Any]]]:
    """Yield each call with its place. What is wrong with one names it, also where it is made."""
    places = itertools.count()
    iterator = iter(calls)
    for place in places:
        try:
            call = next(iterator)
        except StopIteration:
            return
        except InvalidArguments as error:
            raise _placed(error, place) from None
        if not isinstance(call, Call):
            raise TypeError(f"calls[{place}]: must be a call, as bind() returns it, not {type(call).__name__}.")
        yield place, call


def _placed(error: InvalidArguments, place: int) -> InvalidArguments:
    return InvalidArguments(error.job_type, {f"calls[{place}].{name}": error.errors[name] for name in error.errors})


class Storing:
    """The jobs of one batch, while they are stored in the transaction that is open."""

    def __init__(self, using: str, by: Any, origin: str) -> None:
        self.using, self.by, self.origin = using, by, origin
        self.rows = JobQuerySet(Job, using=using)
        self._requester = {"user": by, "origin": origin}
        # Of one portion, by id; the first keeps the id taken.
        self._types: dict[int, tuple[JobType[..., Any], JobType[..., Any]]] = {}
        self._announced: defaultdict[str, list[int]] = defaultdict(list)  # ids by queue
        self.names: set[str] = set()  # of the job types of its jobs
        self._uploads: list[tuple[dict[str, Any], Any]] = []

    # The jobs of the batch.

    def store(self, portion: Sequence[tuple[int, Call[Any]]], batch: int) -> int:
        """Store a job for each of these calls, and return how many were new."""
        groups: dict[int, list[tuple[int, Call[Any]]]] = defaultdict(list)
        for place, call in portion:
            groups[id(call.job_type)].append((place, call))
        simple: dict[Any, list[tuple[int, Job]]] = defaultdict(list)  # by their time
        number = 0
        for some in groups.values():
            job_type = self._type_of(*some[0])
            jobs = self._ready(job_type, some)
            self.names.add(job_type.name)
            for job in jobs:
                vars(job)["batch_id"] = batch  # the descriptor of a foreign key takes its time
            if rule_of(job_type) is None and not job_type.defaults.get("after") and job_type.approval is None:
                when = job_type.defaults.get("run_after")
                simple[when] += [(place, job) for (place, _call), job in zip(some, jobs, strict=True)]
            else:
                number += self._note([job for job in store_ready(job_type, jobs) if not job.is_existing])
        for when, placed in simple.items():
            in_order = [job for _place, job in sorted(placed, key=_place_of)]
            made = self.rows.enqueue_rows(in_order, when=when, **self._requester)
            if jobs_stored.receivers:
                tell_stored(made, self.rows.db)
            number += self._note(made)
        self._types.clear()  # each call may have options, and so a type, of its own
        return number

    def _ready(self, job_type: JobType[..., Any], some: Sequence[tuple[int, Call[Any]]]) -> list[Job]:
        """Return jobs that can be stored. What is wrong with one names its place."""
        cleaned = [dict(call.arguments) for _place, call in some]
        dumped = job_type.arguments.dump_plain(cleaned)
        if dumped is None:
            dumped = []
            for (place, _call), arguments in zip(some, cleaned, strict=True):
                try:
                    dumped.append(self._dump(job_type, arguments))
                except InvalidArguments as error:
                    raise _placed(error, place) from None
        try:
            return made_ready(job_type, dumped)
        except InvalidArguments:
            for (place, _call), arguments in zip(some, dumped, strict=True):
                try:
                    made_ready(job_type, [arguments])
                except InvalidArguments as error:
                    raise _placed(error, place) from None
            raise

    def _dump(self, job_type: JobType[..., Any], cleaned: dict[str, Any]) -> dict[str, Any]:
        person = self.by if self.origin == Origin.ADMIN else None
        dumped = job_type.arguments.dump(cleaned, person=person)
        if files.keys(dumped):
            self._uploads.append((dumped, job_type.arguments.fields))
        return dumped

    def _type_of(self, place: int, call: Call[Any]) -> JobType[..., Any]:
        """Return the job type of a call, for the user of the batch."""
        given = call.job_type
        if id(given) not in self._types:
            self._check_database(f"calls[{place}]", given)
            options = {"user": self.by, "origin": self.origin} if self.by is not None else {}
            self._types[id(given)] = given, given.using(database=self.using, **options)
        return self._types[id(given)][1]

    def _check_database(self, what: str, job_type: JobType[..., Any]) -> None:
        using = job_type.defaults.get("database") or router.db_for_write(Job)
        if using != self.using:
            raise ValueError(f"{what}: its job belongs into the database {using!r}, and the batch into {self.using!r}.")

    def _note(self, jobs: Sequence[Job]) -> int:
        for queue in {job.queue_name for job in jobs}:
            if has_listeners(backend_of(queue)):
                self._announced[queue] += [job.pk for job in jobs if job.queue_name == queue]
        return len(jobs)

    # The jobs at its end.

    def check_callback(self, name: str, call: Any) -> None:
        """Refuse what cannot wait for the end of the batch."""
        if not isinstance(call, Call):
            raise TypeError(f"{name}: must be a call, as bind() returns it, not {type(call).__name__}.")
        self._check_database(name, call.job_type)
        for option in ("after", "run_after"):
            if call.job_type.defaults.get(option):
                raise ValueError(f"{name}: using({option}=…) does not fit, because it starts at the end of the batch.")

    def store_callback(self, name: str, call: Call[Any], batch: int) -> Job:
        """Store a job that waits for the end of the batch."""
        job_type = self._type_of(0, call)
        job = self._ready_callback(name, job_type, call)
        [made] = store_ready(job_type, [job])
        if made.is_existing:
            raise AlreadyEnqueued(made, f"{name}: {conflict_of(made)}")
        self.rows.filter(pk=made.pk).hold_for_batch(batch)
        self._note([made])
        return made

    def _ready_callback(self, name: str, job_type: JobType[..., Any], call: Call[Any]) -> Job:
        try:
            return made_ready(job_type, [self._dump(job_type, dict(call.arguments))])[0]
        except InvalidArguments as error:
            errors = {f"{name}.{field}": messages for field, messages in error.errors.items()}
            raise InvalidArguments(error.job_type, errors) from None

    # Around the transaction.

    def announce_on_commit(self) -> None:
        """Announce the jobs once they are committed. Only their ids are kept until then."""
        announced = {queue: ids for queue, ids in self._announced.items() if ids}
        if announced:
            transaction.on_commit(partial(_announce, self.rows, announced), using=self.using, robust=True)

    def discard_uploads(self) -> None:
        """Delete the uploads of jobs that are not stored after all."""
        for arguments, fields in self._uploads:
            files.discard(arguments, fields)


def _announce(rows: JobQuerySet, announced: Mapping[str, Sequence[int]]) -> None:
    for queue, ids in announced.items():
        for start in range(0, len(ids), AT_ONCE):
            jobs = list(rows.filter(pk__in=ids[start : start + AT_ONCE]).order_by("pk"))
            announce(jobs, backend_of(queue))


def _place_of(placed: tuple[int, Job]) -> int:
    return placed[0]
