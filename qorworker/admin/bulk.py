"""The verbs for many jobs at once. Web."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

from django.db import router
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, npgettext_lazy, pgettext_lazy

from qorworker import permissions
from qorworker.admin import access, tabs
from qorworker.admin.many import Many
from qorworker.admin.verb_view import move, perform_once
from qorworker.admin.verbs import VERBS, Verb
from qorworker.backends import backend_of
from qorworker.exceptions import AlreadyEnqueued, InvalidTransition, QorWorkerError, TooManyJobs
from qorworker.forms import RescheduleForm
from qorworker.models import AuditEntry, Job, Origin, lists, many, pruning
from qorworker.registry import registry
from qorworker.status import ENDED_BADLY, JobStatus
from qorworker.templatetags.qorworker_admin import qw_badge


def _not_alone(job: Job, user: Any) -> None:
    raise ValueError("This is done by way of the list.")


DELETE = Verb(
    "delete-finished",
    "delete",
    pgettext_lazy("verb", "Delete"),
    lambda job: job.is_finished,
    _not_alone,
    "",
    npgettext_lazy("bulk", "%d job was deleted", "%d jobs were deleted"),
    gettext_lazy("Delete finished jobs…"),
    warning=gettext_lazy("Their logs, results and uploads are deleted with them. This cannot be undone."),
    kind="danger",
)
RESCHEDULE = Verb(
    "reschedule",
    "reschedule",
    pgettext_lazy("verb", "Reschedule"),
    lambda job: job.can_reschedule and (job.job_type is None or job.job_type.schedulable),
    _not_alone,
    "",
    npgettext_lazy("bulk", "%d job has another time", "%d jobs have another time"),
    gettext_lazy("Reschedule waiting jobs…"),
    kind="primary",
)
BULK: dict[str, Verb] = {verb.name.replace("-", "_"): verb for verb in (*VERBS.values(), RESCHEDULE, DELETE)}
# What some statements do for hundreds of jobs; it returns those for which it worked.
TOGETHER: dict[str, Callable[..., list[Job]]] = {"retry": many.retry, "delete-finished": pruning.delete_ended}


def is_offered(name: str, tab: str, user: Any) -> bool:
    """Whether an action makes sense in a tab, and *user* may do it with the jobs of at least one type."""
    if name not in tabs.ACTIONS.get(tab, BULK):
        return False
    action = BULK[name].action
    return permissions.can(user, action) or any(permissions.can(user, action, t) for t in registry.all())


class ManyJobs(Many):
    model = Job

    def numbered(self, chosen: Collection[int]) -> Any:
        return lists.for_list(lists.numbered(self.model_admin.get_queryset(self.request), chosen))

    def allowed(self, row: Job) -> bool:
        return bool(self.verb.allowed(self.request.user, row))

    def state(self, row: Job) -> str:
        return str(row.get_status_display())

    def shown(self, row: Job) -> SafeString:
        badge = render_to_string("admin/qorworker/badge.html", qw_badge(row))
        return format_html('{} <a href="{}">{}</a>', badge, reverse("admin:qorworker_job_change", args=(row.pk,)), row)

    def deny(self, row: Job) -> None:
        access.record(self.request, self.verb.action, access.DENIED, job=row)

    def new_form(self, data: Any) -> RescheduleForm | None:
        return RescheduleForm(data) if self.verb is RESCHEDULE else None

    def questions(self, rows: Sequence[Job]) -> list[str]:
        if self.verb.name not in ("retry", "run-again"):
            return []
        return sorted({str(job.job_type.confirm) for job in rows if job.job_type and job.job_type.confirm})

    def warning(self, rows: Sequence[Job]) -> str:
        if self.verb.name != "abort":
            return super().warning(rows)
        soft = sum(not backend_of(job.queue_name).supports_kill for job in rows)
        if soft == len(rows):
            return _("They end where they look for this, and only there. What they have already changed stays changed.")
        told = ngettext(
            "%d of them ends only where it looks for this.", "%d of them end only where they look for this.", soft
        )
        return f"{super().warning(rows)} {told % soft}" if soft else super().warning(rows)

    def set_apart(self, rows: Sequence[Job]) -> tuple[list[str], Sequence[Job]]:
        """Those without code, and those with a secret."""
        verb, told = self.verb, []
        gone = [job for job in rows if job.job_type is None and verb.name in ("retry", "run-again")]
        secret = [job for job in rows if verb.makes_job and job not in gone and not job.can_reschedule]
        if gone:
            text = ngettext(
                "%d has no code in the project and will be left alone.",
                "%d have no code in the project and will be left alone.",
                len(gone),
            )
            told.append(text % len(gone))
        if secret:
            text = ngettext(
                "%d has a secret that must be entered again, on its own page, and will be left alone.",
                "%d have a secret that must be entered again, on their own pages, and will be left alone.",
                len(secret),
            )
            told.append(text % len(secret))
        return told, [job for job in rows if job not in gone and job not in secret]

    def perform(self, rows: Sequence[Job], left: Counter[str]) -> int:
        together = TOGETHER.get(self.verb.name)
        return self._together(together, rows, left) if together else sum(self._one(job, left) for job in rows)

    def _together(self, verb: Callable[..., list[Job]], rows: Sequence[Job], left: Counter[str]) -> int:
        using, asked = router.db_for_write(Job), {"origin": Origin.ADMIN}
        done = {job.pk for job in verb(rows, using, by=self.request.user, **asked)}
        late = [job for job in rows if job.pk not in done]
        now = dict(Job.objects.using(using).filter(pk__in=[job.pk for job in late]).values_list("pk", "status"))
        taken = [job for job in late if now.get(job.pk) in ENDED_BADLY and self.verb.name == "retry"]
        left.update({_taken(): len(taken)})  # each was tried by itself, and has its entry in the audit
        late = [job for job in late if job not in taken]
        audit = AuditEntry.objects.using(using)
        audit.record_many(self.verb.action, late, user=self.request.user, outcome="too late", **asked)
        left.update(_whither(now.get(job.pk, "deleted")) for job in late)
        return len(done)

    def _one(self, job: Job, left: Counter[str]) -> int:
        """One that moved meanwhile is left alone, and *left* says where it went."""
        is_first = True
        try:
            if self.form is not None:
                move(job, self.form.cleaned_data["at"], self.request.user)
            else:
                new, is_first = perform_once(self.verb, job, self.request)
                if new is not None and new.is_existing:
                    left[_taken()] += 1
                    return 0
        except AlreadyEnqueued:
            left[_taken()] += 1
        except InvalidTransition as error:
            left[_whither(error.status)] += 1
        except TooManyJobs:
            left[_("you have as many unfinished jobs as are allowed")] += 1
        except QorWorkerError:
            left[_("its arguments no longer fit")] += 1
        else:
            left[_("done before")] += not is_first
            return int(is_first)
        return 0


def _taken() -> str:
    return _("another job like it is there already")


def _whither(status: str) -> str:
    return str(JobStatus(status).label) if status in JobStatus.values else _("deleted meanwhile")


ACTIONS = [ManyJobs.action(name, verb) for name, verb in BULK.items()]
