"""The verbs for many jobs at once. Web."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

from django.db import router
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, npgettext_lazy, pgettext_lazy

from qorworker.actions import pruning
from qorworker.admin import access, links
from qorworker.admin.display import label_of, qw_badge
from qorworker.admin.forms import RescheduleForm
from qorworker.admin.jobs import tabs
from qorworker.admin.jobs.verbs import RESCHEDULE, VERBS
from qorworker.admin.many import Many
from qorworker.admin.verbs import MATCHED, Verb
from qorworker.definitions.registry import registry
from qorworker.exceptions import InvalidTransition, QorWorkerError
from qorworker.models import AuditEntry, Job, Origin, bulk
from qorworker.queries import job_list
from qorworker.queues import backend_of
from qorworker.status import ENDED_BADLY, JobStatus


def _not_alone(request: HttpRequest, job: Job, form: None) -> None:
    raise ValueError("This is done by way of the list.")


DELETE = Verb(
    name="delete-finished",
    needs=("delete",),
    perform=_not_alone,
    offered=lambda job: job.is_finished,
    label=pgettext_lazy("verb", "Delete"),
    warning=gettext_lazy("Their logs, results, files and uploads are deleted with them. This cannot be undone."),
    kind="danger",
    bulk=gettext_lazy("Delete finished jobs…"),
    plural=npgettext_lazy("bulk", "%d job was deleted", "%d jobs were deleted"),
)
BULK: dict[str, Verb] = {verb.key: verb for verb in (*VERBS.values(), RESCHEDULE, DELETE) if verb.bulk}
# Functions that act on hundreds of jobs by a few statements, and return the jobs for which that worked.
TOGETHER: dict[str, Callable[..., list[Job]]] = {
    "retry": bulk.retry,
    "pause": bulk.pause,
    "resume": bulk.resume,
    "delete-finished": pruning.delete_ended,
}


def is_offered(name: str, tab: str, user: Any) -> bool:
    """Return whether an action makes sense in *tab* and *user* may do it with the jobs of at least one type."""
    if name not in tabs.ACTIONS.get(tab, BULK):
        return False
    verb = BULK[name]
    return any(not verb.lacking(user, job_type) for job_type in (None, *registry.all()))


class ManyJobs(Many):
    """One verb for many jobs."""

    model = Job

    def numbered(self, chosen: Collection[int]) -> Any:
        return job_list.for_list(job_list.numbered(self.model_admin.get_queryset(self.request), chosen))

    def allowed(self, row: Job) -> bool:
        return not self.verb.lacking(self.request.user, job=row)

    def state(self, row: Job) -> str:
        return label_of(row)

    def shown(self, row: Job) -> SafeString:
        badge = render_to_string("admin/qorworker/badge.html", qw_badge(row))
        url = links.url(self.request, "qorworker_job_change", row.pk)
        return format_html('{} <a href="{}">{}</a>', badge, url, row)

    def deny(self, row: Job) -> None:
        access.record(self.request, self.verb.needs[0], access.DENIED, job=row)

    def new_form(self, data: Any) -> RescheduleForm | None:
        return RescheduleForm(data) if self.verb is RESCHEDULE else None

    def questions(self, rows: Sequence[Job]) -> list[str]:
        """Return what the job types of *rows* want confirmed before jobs run once more."""
        if self.verb.name not in ("retry", "run-again"):
            return []
        return sorted({str(job.job_type.confirm) for job in rows if job.job_type and job.job_type.confirm})

    def warning(self, rows: Sequence[Job]) -> str:
        """Return the warning of the verb, with how many of the jobs cannot be ended by force."""
        if self.verb.name != "abort":
            return super().warning(rows)
        silent = sum(job.not_responding for job in rows)
        if silent:
            sentence = ngettext(
                "The worker of %d of them does not respond: only a living worker can end the processes of a job.",
                "The workers of %d of them do not respond: only a living worker can end the processes of a job.",
                silent,
            )
            return f"{super().warning(rows)} {sentence % silent}"
        soft = sum(not backend_of(job.queue_name).supports_kill for job in rows)
        if soft == len(rows):
            return _(
                "They stop only where their code checks for an abort. What they have already changed stays changed."
            )
        sentence = ngettext(
            "%d of them stops only where its code checks for an abort.",
            "%d of them stop only where their code checks for an abort.",
            soft,
        )
        return f"{super().warning(rows)} {sentence % soft}" if soft else super().warning(rows)

    def set_apart(self, rows: Sequence[Job]) -> tuple[list[str], Sequence[Job]]:
        """Set apart the jobs without code, and those with a secret that has to be entered again."""
        verb, sentences = self.verb, []
        gone = [job for job in rows if job.job_type is None and verb.name in ("retry", "run-again")]
        secret = [
            job
            for job in rows
            if job not in gone
            and ((verb.makes_job and not job.can_reschedule) or (verb.name == "retry" and job.erased_secrets))
        ]
        if gone:
            text = ngettext(
                "%d has no code in the project and will be left alone.",
                "%d have no code in the project and will be left alone.",
                len(gone),
            )
            sentences.append(text % len(gone))
        if secret:
            text = ngettext(
                "%d has a secret that must be entered again, on its own page, and will be left alone.",
                "%d have a secret that must be entered again, on their own pages, and will be left alone.",
                len(secret),
            )
            sentences.append(text % len(secret))
        return sentences, [job for job in rows if job not in gone and job not in secret]

    def perform(self, rows: Sequence[Job], left: Counter[str]) -> int:
        """Do it with a few statements for all *rows* where the verb can, else one by one."""
        together = TOGETHER.get(self.verb.name)
        return self._together(together, rows, left) if together else super().perform(rows, left)

    def _together(self, verb: Callable[..., list[Job]], rows: Sequence[Job], left: Counter[str]) -> int:
        using, options = router.db_for_write(Job), {"origin": Origin.ADMIN}
        done = {job.pk for job in verb(rows, using, by=self.request.user, **options)}
        late = [job for job in rows if job.pk not in done]
        now = dict(Job.objects.using(using).filter(pk__in=[job.pk for job in late]).values_list("pk", "status"))
        taken = [job for job in late if now.get(job.pk) in ENDED_BADLY and self.verb.name == "retry"]
        left.update({str(MATCHED): len(taken)})  # the audit has an entry for each already
        late = [job for job in late if job not in taken]
        audit = AuditEntry.objects.using(using)
        audit.record_many(self.verb.needs[0], late, user=self.request.user, outcome="too late", **options)
        left.update(_status_label(now.get(job.pk, "deleted")) for job in late)
        return len(done)

    def why_not(self, row: Job, error: QorWorkerError) -> str:
        if "approve" in self.verb.needs and row.awaits_approval and isinstance(error, InvalidTransition):
            return _("changed since you saw it")
        return _status_label(error.status) if isinstance(error, InvalidTransition) else _("its arguments no longer fit")


def _status_label(status: str) -> str:
    return str(JobStatus(status).label) if status in JobStatus.values else _("deleted meanwhile")


ACTIONS = [ManyJobs.action(name, verb) for name, verb in BULK.items()]
