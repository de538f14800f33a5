"""Measures qorworker on one database, in a process of its own. Prints one line of JSON for each figure."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import django
from django.core.management import call_command
from django.db import connection
from django.db.models import Count, F, Max, Min, QuerySet

BATCH = 1000
TWO = ("--processes", "2")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", required=True)
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--schedules", type=int, required=True)
    chosen = parser.parse_args()
    fresh_database()
    django.setup()
    call_command("migrate", verbosity=0)
    for measure in chosen.only.split(","):
        MEASURES[measure](chosen)


def tell(what: str, value: float, unit: str) -> None:
    print(json.dumps({"what": what, "value": round(value, 3), "unit": unit}), flush=True)


def fresh_database() -> None:
    """Drop the benchmark's database and make it again; raises what the driver raises if there is no server."""
    settings = connection.settings_dict
    if connection.vendor == "sqlite":
        for suffix in ("", "-wal", "-shm"):
            Path(f"{settings['NAME']}{suffix}").unlink(missing_ok=True)
        return
    name, settings["NAME"] = settings["NAME"], "postgres" if connection.vendor == "postgresql" else "mysql"
    character_set = " CHARACTER SET utf8mb4" if connection.vendor == "mysql" else ""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name}")
        cursor.execute(f"CREATE DATABASE {name}{character_set}")
    connection.close()
    settings["NAME"] = name


@contextlib.contextmanager
def worker(*options: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", "django", "runworker", "-v", "0", *options])
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def empty() -> None:
    with connection.cursor() as cursor:
        for table in ("job", "batch", "attempt", "logline", "resultsrow", "jobfile", "schedule", "scheduleslot"):
            cursor.execute(f"DELETE FROM qorworker_{table}")


def preload(job_type: object, count: int) -> None:
    for start in range(0, count, BATCH):
        job_type.enqueue_many([{"number": number} for number in range(start, min(count, start + BATCH))])
    analyze()


def analyze() -> None:
    """Fresh statistics, as a database in service has them."""
    statements = {"mysql": "ANALYZE TABLE qorworker_job", "postgresql": "VACUUM ANALYZE qorworker_job"}
    with connection.cursor() as cursor:
        cursor.execute(statements.get(connection.vendor, "ANALYZE"))


def drained(job_type: object, count: int, *options: str) -> float:
    """Jobs a second that a worker runs while there are enough of them, as the database has it."""
    empty()
    preload(job_type, count)
    return worked_off(count, "--batch", *options)


def worked_off(count: int, *options: str) -> float:
    """Jobs a second from the first start to the last end."""
    from qorworker.models import Job

    subprocess.run([sys.executable, "-m", "django", "runworker", "-v", "0", *options], check=True)
    done = Job.objects.done().filter(worker__isnull=False)
    told = done.aggregate(count=Count("id"), first=Min("started_at"), last=Max("finished_at"))
    if told["count"] != count:
        raise RuntimeError(f"{told['count']} of {count} jobs are done")
    return count / max(0.001, (told["last"] - told["first"]).total_seconds())


def measure_drain(chosen: argparse.Namespace) -> None:
    from benchmarks.benchjobs import jobs

    count = chosen.jobs
    tell("drain, re-runnable", drained(jobs.again, count, *TWO), "jobs/s")
    tell("drain, 10 log lines and 10 progress updates", drained(jobs.report, max(100, count // 5), *TWO), "jobs/s")
    tell("drain, single-attempt", drained(jobs.once, max(100, count // 10), *TWO), "jobs/s")
    tell("drain, 5 ms of work", drained(jobs.compute, max(100, count // 10), *TWO), "jobs/s")
    tell("drain, 10 ms asleep, 8 children", drained(jobs.sleep, max(100, count // 5), "--processes", "8"), "jobs/s")
    tell("drain, a process each", drained(jobs.isolated, max(50, count // 40), *TWO), "jobs/s")


def measure_size(chosen: argparse.Namespace) -> None:
    """What rows that are in the table cost, finished ones and waiting ones."""
    from benchmarks.benchjobs import jobs

    tell("drain, empty table", drained(jobs.again, chosen.jobs, *TWO), "jobs/s")
    for status in ("done", "new"):
        empty()
        fill(chosen.rows, status)
        if status == "done":
            preload(jobs.again, chosen.jobs)
        analyze()
        rate = worked_off(chosen.jobs, "--max-jobs", str(chosen.jobs), *TWO)
        tell(f"drain, {chosen.rows:,} {'finished' if status == 'done' else 'waiting'} rows", rate, "jobs/s")
    empty()


def fill(count: int, status: str) -> None:
    """Many rows in little time: some are stored as they should be, then copied and copied."""
    from benchmarks.benchjobs import jobs
    from qorworker.models import Job

    preload(jobs.again, min(BATCH, count))
    if status == "done":
        Job.objects.update(status="done", attempt=1, started_at=F("run_after"), finished_at=F("run_after"))
    columns = ", ".join(connection.ops.quote_name(f.column) for f in Job._meta.concrete_fields if not f.primary_key)
    there = Job.objects.count()
    while there < count:
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO qorworker_job ({columns}) SELECT {columns} FROM qorworker_job ORDER BY id LIMIT %s",
                [count - there],
            )
        there = Job.objects.count()


def measure_enqueue(chosen: argparse.Namespace) -> None:
    """Beside bare INSERTs, in turn with them: this ratio holds even where the machine is noisy."""
    from benchmarks import bare
    from benchmarks.benchjobs import jobs
    from benchmarks.benchjobs.models import Bare

    with connection.schema_editor() as editor:
        editor.create_model(Bare)
    calls = {size: [{"number": number} for number in range(size)] for size in (100, 1000)}
    ways: dict[str, tuple[int, Callable[[int], object], Callable[[int], object]]] = {
        "one": (1, lambda number: jobs.again.enqueue(number=number), bare.insert_one),
        **{
            f"many, {size}": (size, lambda _, many=many: jobs.again.enqueue_many(many), bare.insert_many)
            for size, many in calls.items()
        },
    }
    for what, (size, ours, theirs) in ways.items():
        empty()
        spent, used, done = [0.0, 0.0], [0.0, 0.0], [0, 0]
        for _turn in range(20):
            for place, step in enumerate((ours, theirs)):
                begun, processor = time.perf_counter(), time.process_time()
                while time.perf_counter() - begun < 0.1:
                    step(done[0] if size == 1 else size)
                    done[place] += size
                spent[place] += time.perf_counter() - begun
                used[place] += time.process_time() - processor
        rates = [count / seconds for count, seconds in zip(done, spent, strict=True)]
        tell(f"enqueue {what}", rates[0], "jobs/s")
        tell(f"enqueue {what}, of the rate of a bare INSERT", 100 * rates[0] / rates[1], "%")
        tell(f"enqueue {what}, processor time of the caller", 1e6 * used[0] / done[0], "µs a job")


def measure_latency(chosen: argparse.Namespace) -> None:
    from benchmarks.benchjobs import jobs

    empty()
    with TemporaryDirectory() as folder, worker("--processes", "2"):
        stamps = Path(folder) / "stamps"
        jobs.stamp.enqueue(path=str(stamps))
        lines_of(stamps, 1)
        delays = []
        for number in range(2, 102):
            time.sleep(random.uniform(0.02, 0.12))
            asked = time.time()
            jobs.stamp.enqueue(path=str(stamps))
            delays.append(1000 * (lines_of(stamps, number)[-1] - asked))
    delays.sort()
    for share in (50, 95, 99):
        tell(f"idle worker starts a job, p{share}", delays[share * len(delays) // 100 - 1], "ms")


def lines_of(path: Path, count: int) -> list[float]:
    """The stamps, as soon as there are so many."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if path.exists() and len(lines := path.read_text().splitlines()) >= count:
            return [float(line) for line in lines]
        time.sleep(0.001)
    raise RuntimeError(f"{path} did not get {count} stamps in a minute")


def measure_start(chosen: argparse.Namespace) -> None:
    """From the command to the first line of a handler."""
    from benchmarks.benchjobs import jobs

    empty()
    with TemporaryDirectory() as folder:
        stamps = Path(folder) / "stamps"
        jobs.stamp.enqueue(path=str(stamps))
        begun = time.time()
        with worker("--processes", "2"):
            tell("start of a worker to its first job", 1000 * (lines_of(stamps, 1)[0] - begun), "ms")


def measure_memory(chosen: argparse.Namespace) -> None:
    for children in (2, 4):
        empty()
        with worker("--processes", str(children)) as process:
            pids = family(process.pid, children + 2)
            time.sleep(2)  # let it settle: what is measured is a worker that has nothing to do
            tell(f"memory, {children} idle children", sum(map(share, pids)) / 2**20, "MiB")
            before, begun = sum(map(ticks, pids)), time.monotonic()
            time.sleep(5)
            used = (sum(map(ticks, pids)) - before) / os.sysconf("SC_CLK_TCK")
            tell(f"processor, {children} idle children", 100 * used / (time.monotonic() - begun), "%")


def measure_soak(chosen: argparse.Namespace) -> None:
    """What a worker has gained after many jobs: memory, descriptors and zombies."""
    from benchmarks.benchjobs import jobs

    empty()
    warm_up = chosen.jobs // 10
    with worker(*TWO) as process:
        feed(jobs.again, warm_up, 0)
        pid = process.pid
        before = private(pid), descriptors(pid)
        feed(jobs.again, chosen.jobs - warm_up, warm_up)
        after = private(pid), descriptors(pid)
        tell("soak, memory of the parent gained", (after[0] - before[0]) / 2**20, "MiB")
        tell("soak, descriptors of the parent gained", after[1] - before[1], "")
        tell("soak, zombies", sum(stat(each)[:1] == ["Z"] for each in family(pid, 3)), "")


def feed(job_type: object, count: int, done: int) -> None:
    """Enqueue so many jobs, never more than ten batches ahead, and return when all have ended after *done* others."""
    for start in range(0, count, BATCH):
        await_done(done + start - 10 * BATCH)
        job_type.enqueue_many([{"number": number} for number in range(start, min(count, start + BATCH))])
    await_done(done + count)


def await_done(count: int) -> None:
    from qorworker.models import Job

    await_count(Job.objects.done(), count)


def await_count(rows: QuerySet, count: int) -> None:
    end = time.monotonic() + 600
    while rows.count() < count:
        if time.monotonic() > end:
            raise RuntimeError(f"there were not {count} of {rows.model._meta.verbose_name_plural} in ten minutes")
        time.sleep(0.05)


def private(pid: int) -> int:
    """Bytes that only this process has."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def family(pid: int, count: int) -> list[int]:
    """A worker and all that descends from it, as soon as they are so many."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        parents = {int(p.name): stat(int(p.name)) for p in Path("/proc").iterdir() if p.name.isdigit()}
        found = [pid]
        for one in found:
            found += [child for child, fields in parents.items() if fields and int(fields[1]) == one]
        if len(found) >= count:
            return found
        time.sleep(0.05)
    raise RuntimeError(f"the worker did not start {count} processes in a minute")


def stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def ticks(pid: int) -> int:
    fields = stat(pid)
    return int(fields[11]) + int(fields[12]) if fields else 0


def share(pid: int) -> int:
    """Bytes that a process adds to the machine: shared pages count in part."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def measure_schedules(chosen: argparse.Namespace) -> None:
    """From the instant at which thousands of schedules are due to the last one that fires. Each makes one job."""
    from benchmarks.benchjobs import jobs
    from qorworker.models import Job, ScheduleSlot, database_now
    from tests.maintenance.support import due_together

    for workers in (1, 2):
        empty()
        with contextlib.ExitStack() as stack:
            for _ in range(workers):
                stack.enter_context(worker(*TWO))
            due = database_now("default").replace(microsecond=0) + dt.timedelta(seconds=5 + chosen.schedules / 1000)
            due_together(chosen.schedules, due, jobs.again)
            await_count(ScheduleSlot.objects.all(), chosen.schedules)
            await_count(Job.objects.done(), chosen.schedules)
        if ScheduleSlot.objects.values("job").distinct().count() != Job.objects.count():
            raise RuntimeError("not every time made one job")
        last = ScheduleSlot.objects.aggregate(last=Max("fired_at"))["last"]
        name = f"{chosen.schedules:,} schedules fire, {workers} worker{'s' if workers > 1 else ''}"
        tell(name, (last - due).total_seconds(), "s")


def measure_batches(chosen: argparse.Namespace) -> None:
    """One batch of all jobs beside as many jobs without one: how they are enqueued, and how they are worked off."""
    from benchmarks.benchjobs import jobs
    from qorworker.models import Batch

    def as_batch() -> None:
        Batch.objects.enqueue("Benchmark", (jobs.again.bind(number=number) for number in range(chosen.jobs)))

    def as_many() -> None:
        jobs.again.enqueue_many({"number": number} for number in range(chosen.jobs))

    rates: dict[str, dict[str, float]] = {}
    for way, enqueue in (("in a batch", as_batch), ("with enqueue_many", as_many)):  # what takes less memory first
        empty()
        before, begun, processor = peak_memory(), time.perf_counter(), time.process_time()
        enqueue()
        seconds, used = time.perf_counter() - begun, time.process_time() - processor
        tell(f"{chosen.jobs:,} jobs {way}, enqueued", chosen.jobs / seconds, "jobs/s")
        tell(f"{chosen.jobs:,} jobs {way}, processor time of the caller", 1e6 * used / chosen.jobs, "µs a job")
        tell(f"{chosen.jobs:,} jobs {way}, memory of the caller", (peak_memory() - before) / 2**20, "MiB more")
        analyze()
        rates[way] = {"enqueued": chosen.jobs / seconds, "drained": worked_off(chosen.jobs, "--batch", *TWO)}
        tell(f"{chosen.jobs:,} jobs {way}, drained", rates[way]["drained"], "jobs/s")
    batch, many = rates.values()
    for what in ("enqueued", "drained"):
        tell(f"in a batch, {what}: of the rate without one", 100 * batch[what] / many[what], "%")


def peak_memory() -> int:
    """The most bytes that this process has had at a time."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


MEASURES = {
    "batches": measure_batches,
    "enqueue": measure_enqueue,
    "drain": measure_drain,
    "latency": measure_latency,
    "start": measure_start,
    "memory": measure_memory,
    "schedules": measure_schedules,
    "size": measure_size,
    "soak": measure_soak,
}

if __name__ == "__main__":
    main()
