"""``python -m benchmarks pages``: what each page costs on a seeded database, beside what it may cost.

Queries, milliseconds in the server (on a busy machine compare with what this process has worked: the rest is waiting,
for the database or for a processor), bytes after gzip. ``--explain`` shows how the database comes to the
slow statements.
"""

from __future__ import annotations

import datetime as dt
import gzip
import re
import statistics
import time
from dataclasses import dataclass, field
from typing import Any

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext, setup_test_environment
from django.utils import timezone

KB = 1024
HOUR = dt.timedelta(hours=1)
SLOW = 0.010  # seconds from which a statement is explained
SIGN_IN = ("django_session", "auth_user")  # a statement about one of them alone is none of ours


@dataclass
class Page:
    name: str
    url: str
    queries: int
    milliseconds: float
    size: int
    headers: dict[str, str] = field(default_factory=dict)
    has_worker: bool = True


def main(rounds: int = 15, explain: bool = False) -> bool:
    """Measure all pages, print a table; whether each keeps to its budget."""
    import django

    django.setup()
    setup_test_environment()
    register()
    client = Client()
    client.force_login(people().objects.get(username="root"))
    have_worker(True)
    kept = True
    print(f"{connection.vendor}: {jobs():,} jobs\n")
    columns = ["page", "queries", "ms, median [least-most]", "ms of this process", "KB gzip", "over budget"]
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    slow: list[tuple[str, dict[str, str]]] = []
    for page in pages(client):
        line, over, found = measure(client, page, rounds)
        print(line, flush=True)
        kept &= not over
        slow += [(page.name, query) for query in found]
    if explain:
        tell(slow)
    return kept


def have_worker(is_alive: bool) -> None:
    from qorworker.models import Worker

    now = timezone.now()
    Worker.objects.update(heartbeat_at=now + HOUR if is_alive else now - HOUR)


def people() -> Any:
    from django.contrib.auth import get_user_model

    return get_user_model()


def jobs() -> int:
    from qorworker.models import Job

    return Job.objects.count()


def register() -> None:
    """The hundred types that the seeded jobs are of, and no others."""
    from benchmarks.seed import NAME, TYPES
    from qorworker import job
    from qorworker.definitions.registry import registry

    for name in registry.names():
        registry.unregister(name)
    for number in range(TYPES):

        def work(shop: str, mode: str = "add", number: int = 0) -> None:
            """Imports the products of a shop."""

        job(name=f"{NAME}{number}", title=f"Import {number}", group=f"Group {number % 8}")(work)


def pages(client: Client) -> list[Page]:
    from qorworker.models import Job
    from qorworker.queries.dashboard import RANGES
    from qorworker.queries.job_list import TABS

    one_by_one = 100 if connection.vendor == "mysql" else 0  # the newest job of each type
    base = "/admin/qorworker/job/"
    failed = Job.objects.failed().newest_first()[0]
    live = f"{base}{failed.pk}/live/?state=x&results=0&after="
    tag = client.get(f"{live}0")["ETag"]
    state = client.get(f"{live}0").json()["state"]["state"]
    changed = f"{base}{failed.pk}/live/?state={state}&results={failed.results_rows}&after={failed.log_lines - 50}"
    return [
        *(Page(f"list, {tab}", f"{base}?tab={tab}", 10, 150, 40 * KB) for tab in TABS),
        Page("list, one type", f"{base}?job={failed.name}", 10, 150, 40 * KB),
        Page("list, search", f"{base}?q=Import+7", 10, 150, 40 * KB),
        Page("list, last page", f"{base}?p=200", 10, 150, 40 * KB),
        Page("list, no worker", base, 10, 150, 40 * KB, has_worker=False),
        Page("job", f"{base}{failed.pk}/change/", 12, 120, 60 * KB),
        Page("live, unchanged", f"{live}0", 2, 10, 1 * KB, {"if-none-match": tag}),
        Page("live, 50 lines", changed, 5, 25, 6 * KB),
        Page("catalogue, 100 types", f"{base}catalogue/", 8 + one_by_one, 100, 40 * KB),
        Page("queues", "/admin/qorworker/queue/", 10, 150, 40 * KB),
        *(Page(f"dashboard, {key}", f"/admin/qorworker/?range={key}", 8, 100, 40 * KB) for key in RANGES),
        Page("failures", f"{base}failures/", 8, 100, 40 * KB),
    ]


def measure(client: Client, page: Page, rounds: int) -> tuple[str, bool, list[dict[str, str]]]:
    def ask() -> Any:
        return client.get(page.url, headers=page.headers)

    have_worker(page.has_worker)
    ask()  # what is only done once
    with CaptureQueriesContext(connection) as context:
        answer = ask()
        captured = list(context)  # the next request forgets them
    if answer.status_code not in (200, 304):
        raise RuntimeError(f"{page.url} answered {answer.status_code}")
    took, worked = [], []
    for _ in range(rounds):
        begun, cpu = time.perf_counter(), time.process_time()
        answer = ask()
        took.append(1000 * (time.perf_counter() - begun))
        worked.append(1000 * (time.process_time() - cpu))
    queries = sum(not is_sign_in(query["sql"]) for query in captured)
    median, size = statistics.median(took), len(gzip.compress(answer.content))
    over = [
        name
        for name, value, most in (
            ("queries", queries, page.queries),
            ("time", median, page.milliseconds),
            ("size", size, page.size),
        )
        if value > most
    ]
    cells = [
        page.name,
        f"{queries} of {page.queries}",
        f"{median:.1f} [{min(took):.1f}-{max(took):.1f}] of {page.milliseconds}",
        f"{statistics.median(worked):.1f}",
        f"{size / KB:.1f} of {page.size / KB:.0f}",
        ", ".join(over),
    ]
    line = f"| {' | '.join(cells)} |"
    return line, bool(over), [query for query in captured if float(query["time"]) > SLOW]


def is_sign_in(sql: str) -> bool:
    """Whether a statement is about who asks, as on every page of the admin."""
    return "qorworker_" not in sql and any(table in sql for table in SIGN_IN)


def tell(slow: list[tuple[str, dict[str, str]]]) -> None:
    how = {"postgresql": "EXPLAIN (ANALYZE, BUFFERS)", "sqlite": "EXPLAIN QUERY PLAN"}.get(connection.vendor, "EXPLAIN")
    for name, query in slow:
        print(f"\n{name}, {float(query['time']) * 1000:.0f} ms\n{re.sub(chr(10), ' ', query['sql'])[:1500]}")
        with connection.cursor() as cursor:
            cursor.execute(f"{how} {query['sql']}")
            for row in cursor.fetchall():
                print("   ", row[-1])
