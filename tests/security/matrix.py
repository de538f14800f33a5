"""What each URL answers to whom: written by hand, one row for each route that the resolver knows.

A new URL fails ``test_matrix.py`` until it has a row here. The numbers are for the roles in ``ROLES``, in that order;
``other`` is for PUT, PATCH, DELETE and OPTIONS. ``changes`` names those whose POST changes something.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from qorworker.admin.jobs.update import revision_of

LATER = {"qw-at_0": "2999-01-01", "qw-at_1": "09:00"}
CONFIRMED = {"confirmed": "1"}
RULE = {"name": "ours {pk}", "on": "failed", "mail": "ops@example.com", "webhook_format": "json"}
RUN = {"qw-token": "0." + "x" * 20, "qw-when": "now", "subject": "Tea", "copies": "1", "mode": "plain"}


@dataclass
class Row:
    #      anonymous nobody viewer reader operator stranger owner guest root
    get: str
    post: str
    other: str
    changes: str = ""
    state: str = "exception"  # of the job that is asked for
    data: dict[str, Any] = field(default_factory=dict)
    is_paused: bool = False  # the schedule or worker that is asked for, and the queue “reports”
    name: str = ""  # of the type in the URL, if it is not that of the job

    def sent(self, pk: int, job: Any) -> dict[str, str]:
        """What is posted about the row *pk*, and a form about *job*."""
        told = {"pk": pk, "revision": revision_of(job), "changed": job.enqueued_at.isoformat()}
        return {key: value.format(**told) for key, value in self.data.items()}


LOOK = {"post": "302 405 405 405 405 405 405 405 405", "other": "302 405 405 405 405 405 405 405 405"}
DATA = {"post": "401 405 405 405 405 405 405 405 405", "other": "401 405 405 405 405 405 405 405 405"}
VERB = {
    "get": "302 405 405 405 405 405 405 405 405",
    "post": "302 404 403 403 302 404 302 404 302",
    "other": "302 405 405 405 405 405 405 405 405",
    "changes": "operator owner root",
}
REFUSED_VERB = {**VERB, "post": "302 404 403 403 403 404 403 404 403", "changes": ""}
SCHEDULE_VERB = {
    "get": "302 405 405 405 405 405 405 405 405",
    "post": "302 404 403 403 403 404 404 404 302",
    "other": "302 405 405 405 405 405 405 405 405",
    "changes": "root",
}
REFUSED_SCHEDULE_VERB = {**SCHEDULE_VERB, "post": "302 404 403 403 403 404 404 404 403", "changes": ""}
QUEUE_VERB = {
    "get": "302 405 405 405 405 405 405 405 405",
    "post": "302 403 403 403 403 403 403 403 302",
    "other": "302 405 405 405 405 405 405 405 405",
    "changes": "root",
}
WORKER_VERB = {
    "get": "302 405 405 405 405 405 405 405 405",
    "post": "302 404 403 403 404 404 404 404 302",
    "other": "302 405 405 405 405 405 405 405 405",
    "changes": "root",
}
MANAGED = {
    "get": "302 405 405 405 405 405 405 405 405",
    "post": "302 403 403 403 403 403 403 403 302",
    "other": "302 405 405 405 405 405 405 405 405",
    "changes": "root",
}
MANAGED_FORM = {**MANAGED, "get": "302 403 403 403 403 403 403 403 200"}
REFUSED = {
    "get": "302 403 403 403 403 403 403 403 403",
    "post": "302 403 403 403 403 403 403 403 403",
    "other": "302 403 403 403 403 403 403 403 403",
}

MATRIX: dict[str, Row] = {
    "": Row(
        get="302 404 200 200 200 200 200 200 200",
        post="302 404 200 200 200 200 200 200 200",
        other="302 404 200 200 200 200 200 200 200",
    ),
    "job/catalogue/": Row(get="302 403 200 200 302 302 200 200 200", **LOOK),
    "job/run/<str:name>/": Row(
        get="302 404 403 403 200 404 200 200 200",
        post="302 404 403 403 302 404 302 302 302",
        other="302 404 405 405 405 404 405 405 405",
        changes="operator owner guest root",
        data=RUN,
    ),
    "job/run/<str:name>/save/": Row(  # shows what would be saved, and asks for a name
        get="302 404 405 405 405 404 405 405 405",
        post="302 404 403 403 200 404 200 200 200",
        other="302 404 405 405 405 404 405 405 405",
        data=RUN,
    ),
    "job/preset/<int:pk>/delete/": Row(  # of which there are none here
        get="302 404 404 404 404 404 404 404 404",
        post="302 404 404 404 404 404 404 404 404",
        other="302 404 404 404 404 404 404 404 404",
    ),
    "job/autocomplete/<str:name>/<str:field>/": Row(
        get="401 404 404 404 404 404 403 403 200",
        post="401 404 404 404 404 404 405 405 405",
        other="401 404 404 404 404 404 405 405 405",
        name="tests.upload",
    ),
    "job/<int:pk>/live/": Row(
        get="401 404 200 200 200 404 200 404 200",
        post="401 405 405 405 405 405 405 405 405",
        other="401 405 405 405 405 405 405 405 405",
    ),
    "job/<int:pk>/job.json": Row(get="401 404 200 200 200 404 200 404 200", **DATA),
    "job/<int:pk>/log.txt": Row(get="302 404 403 200 200 404 200 404 200", **LOOK),
    "job/<int:pk>/results.csv": Row(get="302 404 403 200 200 404 200 404 200", **LOOK),
    "job/<int:pk>/results.json": Row(get="302 404 403 200 200 404 200 404 200", **LOOK),
    "job/<int:pk>/results.xlsx": Row(get="302 404 403 200 200 404 200 404 200", **LOOK),
    "job/<int:pk>/file/<str:name>/": Row(get="302 404 403 404 404 404 404 404 404", **LOOK, name="subject"),
    "job/<int:pk>/files/<str:token>/": Row(get="302 404 403 404 404 404 404 404 404", **LOOK),  # of which it has none
    "job/<int:pk>/questions/<int:number>/": Row(  # of which it has none
        get="302 404 404 404 404 404 404 404 404",
        post="302 404 404 404 404 404 404 404 404",
        other="302 404 404 404 404 404 404 404 404",
    ),
    "job/<int:pk>/tell-me/": Row(
        get="302 404 405 405 405 404 405 404 405",
        post="302 404 302 302 302 404 302 404 302",
        other="302 404 405 405 405 404 405 404 405",
        changes="viewer reader operator owner root",
        state="new",
        data={"qw-tell": "note"},
    ),
    "job/<int:pk>/reschedule/": Row(**VERB, state="scheduled", data=LATER),
    "job/<int:pk>/update/": Row(
        get="302 404 403 403 200 404 200 404 200",
        post="302 404 403 403 302 404 302 404 302",
        other="302 404 405 405 405 404 405 404 405",
        changes="operator owner root",
        state="scheduled",
        data={**RUN, "qw-when": "keep", "qw-revision": "{revision}"},
    ),
    "job/<int:pk>/run-now/": Row(**VERB, state="scheduled"),
    "job/<int:pk>/retry/": Row(**VERB, data=CONFIRMED),
    "job/<int:pk>/mark-failed/": Row(**VERB, state="silent", data=CONFIRMED),
    "job/<int:pk>/abort/": Row(**VERB, state="running", data=CONFIRMED),
    "job/<int:pk>/show-stack/": Row(
        **{**VERB, "post": "302 404 403 302 302 404 302 404 302", "changes": "reader operator owner root"},
        state="running",
    ),
    "job/<int:pk>/pause/": Row(**VERB, state="looping"),
    "job/<int:pk>/resume/": Row(**VERB, state="paused"),
    "job/<int:pk>/approve/": Row(**REFUSED_VERB),  # it waits for no approval
    "job/<int:pk>/decline/": Row(**REFUSED_VERB),
    "job/<int:pk>/cancel/": Row(**VERB, state="new", data=CONFIRMED),
    "job/<int:pk>/run-again/": Row(**VERB, data=CONFIRMED),
    "job/<int:pk>/run-for-real/": Row(**{**VERB, "changes": ""}, data=CONFIRMED),  # it was no rehearsal
    "job/<int:pk>/run-failed-rows/": Row(**{**VERB, "changes": ""}, data=CONFIRMED),  # of which it has none
    "job/failures/": Row(get="302 403 200 200 200 200 200 200 200", **LOOK),
    "job/dashboard/live/": Row(get="401 403 200 200 200 200 200 200 200", **DATA),
    "job/list.json": Row(
        get="401 403 200 200 200 200 200 200 200",
        post="401 405 405 405 405 405 405 405 405",
        other="401 405 405 405 405 405 405 405 405",
    ),
    "job/list/live/": Row(
        get="401 403 200 200 200 200 200 200 200",
        post="401 405 405 405 405 405 405 405 405",
        other="401 405 405 405 405 405 405 405 405",
    ),
    "job/": Row(
        get="302 403 200 200 200 200 200 200 200",
        post="302 403 302 302 302 302 302 302 302",
        other="302 403 200 200 200 200 200 200 200",
        changes="operator owner root",
        state="new",
        data={"action": "cancel", "_selected_action": "{pk}", **CONFIRMED},
    ),
    "job/add/": Row(**REFUSED),
    "job/<path:object_id>/history/": Row(
        get="302 404 302 302 302 404 302 404 302",
        post="302 404 302 302 302 404 302 404 302",
        other="302 404 302 302 302 404 302 404 302",
    ),
    "job/<path:object_id>/delete/": Row(
        get="302 403 403 403 200 302 200 302 200",
        post="302 403 403 403 302 302 302 302 302",
        other="302 403 403 403 200 302 200 302 200",
        changes="operator owner root",
        data={"post": "yes"},
    ),
    "job/<path:object_id>/change/": Row(get="302 404 200 200 200 404 200 404 200", **LOOK),
    "job/<path:object_id>/": Row(
        get="302 302 302 302 302 302 302 302 302",
        post="302 302 302 302 302 302 302 302 302",
        other="302 302 302 302 302 302 302 302 302",
    ),
    # Schedules: of the type of the job that is asked for. Whoever has a permission of Django's to manage them besides
    # the right to run the type may; of these roles that is root.
    "schedule/preview/<str:name>/": Row(
        get="401 404 405 405 405 404 405 405 405",
        post="401 404 403 403 403 404 403 403 200",
        other="401 404 405 405 405 404 405 405 405",
    ),
    "schedule/<int:pk>/edit/": Row(
        get="302 404 403 403 403 404 404 404 200",
        post="302 404 403 403 403 404 404 404 200",
        other="302 404 405 405 405 404 404 404 405",
    ),
    "schedule/<int:pk>/run-now/": Row(**SCHEDULE_VERB),
    "schedule/<int:pk>/skip-next/": Row(**SCHEDULE_VERB),
    "schedule/<int:pk>/resume/": Row(**SCHEDULE_VERB, is_paused=True),
    "schedule/<int:pk>/pause/": Row(**SCHEDULE_VERB),
    "schedule/<int:pk>/approve/": Row(**REFUSED_SCHEDULE_VERB),  # it waits for no approval
    "schedule/<int:pk>/decline/": Row(**REFUSED_SCHEDULE_VERB),
    "schedule/calendar/": Row(get="302 403 200 200 200 200 200 200 200", **LOOK),
    "schedule/": Row(
        get="302 403 200 200 200 200 200 200 200",
        post="302 403 302 302 302 302 302 302 302",
        other="302 403 200 200 200 200 200 200 200",
        changes="root",
        data={"action": "resume", "_selected_action": "{pk}", **CONFIRMED},
        is_paused=True,
    ),
    "schedule/add/": Row(
        get="302 403 403 403 403 403 403 403 200",
        post="302 403 403 403 403 403 403 403 405",
        other="302 403 403 403 403 403 403 403 405",
    ),
    "schedule/<path:object_id>/history/": Row(
        get="302 404 302 302 302 404 404 404 302",
        post="302 404 302 302 302 404 404 404 302",
        other="302 404 302 302 302 404 404 404 302",
    ),
    "schedule/<path:object_id>/delete/": Row(
        get="302 403 403 403 403 403 403 403 200",
        post="302 403 403 403 403 403 403 403 302",
        other="302 403 403 403 403 403 403 403 200",
        changes="root",
        data={"post": "yes"},
    ),
    "schedule/<path:object_id>/change/": Row(get="302 404 200 200 200 404 404 404 200", **LOOK),
    "schedule/<path:object_id>/": Row(
        get="302 302 302 302 302 302 302 302 302",
        post="302 302 302 302 302 302 302 302 302",
        other="302 302 302 302 302 302 302 302 302",
    ),
    # Calendars of days off: Django's permissions for them decide, which only root has.
    "calendar/": Row(
        get="302 403 403 403 403 403 403 403 200",
        post="302 403 403 403 403 403 403 403 200",
        other="302 403 403 403 403 403 403 403 200",
    ),
    "calendar/add/": Row(
        get="302 403 403 403 403 403 403 403 200",
        post="302 403 403 403 403 403 403 403 302",
        other="302 403 403 403 403 403 403 403 200",
        changes="root",
        data={"name": "new", "dates": "2026-12-25 Christmas", "_save": "Save"},
    ),
    "calendar/<path:object_id>/history/": Row(
        get="302 403 403 403 403 403 403 403 200",
        post="302 403 403 403 403 403 403 403 200",
        other="302 403 403 403 403 403 403 403 200",
    ),
    "calendar/<path:object_id>/delete/": Row(
        get="302 403 403 403 403 403 403 403 200",
        post="302 403 403 403 403 403 403 403 302",
        other="302 403 403 403 403 403 403 403 200",
        changes="root",
        data={"post": "yes"},
    ),
    "calendar/<path:object_id>/change/": Row(
        get="302 403 403 403 403 403 403 403 200",
        post="302 403 403 403 403 403 403 403 302",
        other="302 403 403 403 403 403 403 403 200",
        changes="root",
        data={"name": "renamed", "dates": "2026-12-26 Boxing Day", "_save": "Save"},
    ),
    "calendar/<path:object_id>/": Row(
        get="302 302 302 302 302 302 302 302 302",
        post="302 302 302 302 302 302 302 302 302",
        other="302 302 302 302 302 302 302 302 302",
    ),
    # Queues: who may look at any jobs sees the page; to pause takes a permission of Django's, which root has.
    "batch/": Row(get="302 403 200 200 200 200 200 200 200", **LOOK),
    "batch/<path:object_id>/change/": Row(get="302 404 200 200 200 404 200 404 200", **LOOK),
    "batch/<int:pk>/live/": Row(get="401 404 200 200 200 404 200 404 200", **DATA),
    "batch/<int:pk>/retry-failed/": Row(**VERB),
    "batch/<int:pk>/resume/": Row(**VERB, state="paused"),
    "batch/<int:pk>/pause/": Row(**VERB, state="looping"),
    "batch/<int:pk>/abort/": Row(**VERB, state="running", data=CONFIRMED),
    "batch/<int:pk>/cancel/": Row(**VERB, state="scheduled", data=CONFIRMED),
    "batch/<int:pk>/rerun/": Row(**VERB, state="done", data=CONFIRMED),
    "queue/": Row(get="302 403 200 200 200 200 200 200 200", **LOOK),
    "queue/live/": Row(get="401 403 200 200 200 200 200 200 200", **DATA),
    "queue/list.json": Row(get="401 403 200 200 200 200 200 200 200", **DATA),
    "queue/pause/": Row(**QUEUE_VERB, data={"qw-what": "queue:mail"}),
    "queue/resume/": Row(**QUEUE_VERB, data={"qw-what": "queue:reports"}, is_paused=True),
    "worker/<int:pk>/pause/": Row(**WORKER_VERB),
    "worker/<int:pk>/resume/": Row(**WORKER_VERB, is_paused=True),
    "worker/<int:pk>/drain/": Row(**WORKER_VERB),
    "worker/": Row(
        get="302 403 200 200 403 403 403 403 200",
        post="302 403 200 200 403 403 403 403 200",
        other="302 403 200 200 403 403 403 403 200",
    ),
    "worker/live/": Row(get="401 403 200 200 403 403 403 403 200", **DATA),
    "worker/add/": Row(**REFUSED),
    "worker/<path:object_id>/history/": Row(
        get="302 403 200 200 403 403 403 403 200",
        post="302 403 200 200 403 403 403 403 200",
        other="302 403 200 200 403 403 403 403 200",
    ),
    "worker/<path:object_id>/delete/": Row(**REFUSED),
    "worker/<path:object_id>/change/": Row(
        get="302 403 200 200 403 403 403 403 200",
        post="302 403 403 403 403 403 403 403 403",
        other="302 403 200 200 403 403 403 403 200",
    ),
    "message/": Row(get="302 403 403 403 403 403 403 403 200", **LOOK),
    "message/<int:pk>/again/": Row(**{**MANAGED, "changes": ""}),  # no job type is registered here that could send it
    "messagerule/": Row(get="302 403 403 403 403 403 403 403 200", **LOOK),
    "messagerule/add/": Row(**MANAGED_FORM, data=RULE),
    "messagerule/test/": Row(**{**MANAGED, "changes": ""}, data={"qw-rule": "rule {pk}"}),  # nor this one
    "messagerule/<path:object_id>/change/": Row(**MANAGED_FORM, data={**RULE, "qw-changed": "{changed}"}),
    "messagerule/<int:pk>/delete/": Row(**MANAGED_FORM),
    "worker/<path:object_id>/": Row(
        get="302 302 302 302 302 302 302 302 302",
        post="302 302 302 302 302 302 302 302 302",
        other="302 302 302 302 302 302 302 302 302",
    ),
}
