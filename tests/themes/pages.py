"""Every page of ours, with something to show on it: what is in the database, and the address of each page."""

from __future__ import annotations

from typing import Any

from qorworker import pause_queue
from qorworker.models import Job, LogLine, Preset
from tests.admin import people_pages
from tests.admin.support import BASE, STATES, a_worker, in_state, page_of, stored
from tests.security.people import a_schedule, told

SCHEDULES, QUEUES, WORKERS = (BASE.replace("/job/", f"/{name}/") for name in ("schedule", "queue", "worker"))
LONG_LINE = "a line that is rather long, as lines of a log tend to be, and goes on for more than a narrow screen"

# A page is the address that answers a GET, or an address and what is sent to it with a POST.
Page = str | tuple[str, dict[str, Any]]


def addresses(types: dict[str, Any], owner: Any) -> dict[str, Page]:
    """The pages, after their rows were made; *owner* is the person who looks at them."""
    jobs = {state: _job(types["greet"], state) for state in STATES}
    preset = Preset.objects.create(
        name="Every morning", job_name="tests.greet", owner=owner, arguments={"subject": "Tea"}
    )
    a_worker(name="gone-1:7", host="gone-1")
    worker = a_worker()
    pause_queue("reports", reason="The printer is out of paper.")
    types["asks"].pause()
    schedule, paused = a_schedule(jobs["done"]), a_schedule(jobs["done"], is_paused=True)
    every_job = [job.pk for job in jobs.values()]
    return {
        **{name.replace("-", " "): url for name, url in people_pages.addresses().items()},
        "index": "/admin/qorworker/",
        "catalogue": BASE + "catalogue/",
        "table": BASE + "catalogue/?view=table",
        "run": BASE + "run/tests.greet/",
        "run every kind": BASE + "run/tests.everything/",
        "run with rows": BASE + "run/tests.upload/",
        "run with a question": BASE + "run/tests.asks/",
        "run with errors": (BASE + "run/tests.greet/", {"qw-when": "later", "copies": "many"}),
        "save arguments": (BASE + "run/tests.greet/save/", {"subject": "Tea", "copies": "2", "mode": "rich"}),
        "delete saved arguments": f"{BASE}preset/{preset.pk}/delete/",
        "list": BASE,
        "empty list": f"{BASE}?tab=cancelled&q=nothing",
        "scheduled jobs": f"{BASE}?tab=scheduled",
        "many at once": (BASE, {"action": "abort", "_selected_action": every_job}),
        "many later": (BASE + "?tab=queued", {"action": "reschedule", "_selected_action": every_job}),
        **{f"job {state}": page_of(job) for state, job in jobs.items()},
        "change": page_of(jobs["scheduled"], "update/"),
        "abort": (page_of(jobs["running"], "abort/"), {}),
        "delete": page_of(jobs["exception"], "delete/"),
        "schedules": SCHEDULES,
        "choose a job": SCHEDULES + "add/",
        "new schedule": SCHEDULES + "add/?job=tests.everything",
        "schedule": f"{SCHEDULES}{paused.pk}/change/",
        "change schedule": f"{SCHEDULES}{schedule.pk}/edit/",
        "delete schedule": f"{SCHEDULES}{schedule.pk}/delete/",
        "queues": QUEUES + "?pause=queue:mail",
        "workers": WORKERS,
        "worker": f"{WORKERS}{worker.pk}/change/",
        "not found": BASE + "99999/change/",
    }


def _job(job_type: Any, state: str) -> Job:
    job = in_state(job_type, state, arguments=stored(job_type, subject="Tea at five"), progress=40, progress_text="Tea")
    told(job, "a line")
    LogLine.objects.create(job=job, number=2, attempt=1, at=job.enqueued_at, level=40, text=LONG_LINE)
    Job.objects.filter(pk=job.pk).update(log_lines=2)
    return job
