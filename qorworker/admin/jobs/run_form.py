"""The run form of a job type: its arguments and its time. One submit makes one job. Web."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed, HttpResponseRedirect
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from qorworker import permissions
from qorworker.admin import access, conflicts, links, rendering, run_chart, tokens
from qorworker.admin.display import qw_capped, qw_number
from qorworker.admin.forms import ConfirmForm, QueueForm, WhenForm, starts_at_once
from qorworker.admin.jobs import prefill
from qorworker.admin.jobs.autocomplete import JobAutocompleteView, limit_rows
from qorworker.admin.jobs.cards import budgets_in_words, first_paragraph
from qorworker.admin.jobs.chunks import Chunks, of_form
from qorworker.admin.jobs.field_limits import tell_limits
from qorworker.admin.jobs.start_choices import starts
from qorworker.admin.jobs.tell import TellForm, ask_for
from qorworker.admin.jobs.verb_texts import clock
from qorworker.admin.media import RUN_MEDIA
from qorworker.admin.pages import READING
from qorworker.arguments import codec
from qorworker.conf import settings
from qorworker.definitions.job_type import JobType
from qorworker.definitions.options import EnqueueOptions
from qorworker.exceptions import (
    AlreadyEnqueued,
    InvalidArguments,
    SecretsUnavailable,
    TooManyJobs,
    UnsupportedByBackend,
)
from qorworker.models import Job, Origin
from qorworker.queries import last_runs, run_form
from qorworker.queries.reasons import obstacles
from qorworker.queues import backend_of


def run(model_admin: Any, request: HttpRequest, name: str) -> HttpResponseBase:
    """Show the form at ``job/run/<name>/`` for GET, and start the job for POST."""
    job_type = runnable(model_admin, request, name, ["GET", "HEAD", "POST"])
    if isinstance(job_type, HttpResponseBase):
        return job_type
    page = RunPage(model_admin, request, job_type)
    return page.submit() if request.method == "POST" else page.show()


def runnable(
    model_admin: Any, request: HttpRequest, name: str, methods: list[str]
) -> JobType[..., Any] | HttpResponseBase:
    """Return the job type if its form can be shown to the user; else the answer that explains the refusal."""
    return access.chosen_type(model_admin, request, name, "run", methods, "qorworker_job_catalogue")


def autocomplete(model_admin: Any, request: HttpRequest, name: str, field: str) -> HttpResponseBase:
    """Return rows to choose from in a field of the form, for users who may run the type."""
    job_type = access.visible_type(request, name)
    if job_type is None or not permissions.can(request.user, "run", job_type) or job_type.arguments.problems():
        return access.not_found(request)
    if request.method not in READING:
        return HttpResponseNotAllowed(READING)
    view = JobAutocompleteView.as_view(admin_site=model_admin.admin_site)
    return view(request, job_type=name, field=field)


class RunPage:
    """The forms on the page and what a submit does with them. With *filled* they are unbound and start with that."""

    template = "job/run.html"

    def __init__(
        self,
        model_admin: Any,
        request: HttpRequest,
        job_type: JobType[..., Any],
        filled: prefill.Filled | None = None,
        chunks: Chunks | None = None,
    ) -> None:
        self.model_admin, self.request, self.job_type = model_admin, request, job_type
        posted = request.POST if request.method == "POST" and filled is None else None
        self.arguments: BaseForm = job_type.arguments.form_class(posted, request.FILES if posted is not None else None)
        prefill.hide_secrets(self.arguments)
        limit_rows(self.arguments, request, model_admin.admin_site)
        self.chunks = chunks if posted is None else of_form(posted.get("qw-chunks", ""), job_type)
        if self.chunks is not None:
            self.chunks.prepare(self.arguments)
        tell_limits(self.arguments)
        self.filled = filled or prefill.Filled()
        if posted is None:
            self.filled = filled or self._start()
            self.arguments.initial.update(self.filled.values)
        self.when = self._when_form(posted)
        self.queue = self._queue_form(posted)
        self.tell = self._tell_form(posted)
        self.confirm = ConfirmForm(posted, job_type.title) if job_type.confirm else None
        self.token = posted.get("qw-token", "") if posted is not None else tokens.new_token(request.user)
        self.was_saving = False
        self.rehearses = posted is not None and "qw-rehearse" in posted

    def _start(self) -> prefill.Filled:
        return prefill.filled(self.request, self.job_type, self.arguments.fields)

    def _when_form(self, posted: Any) -> WhenForm | None:
        may_wait = self.job_type.schedulable and backend_of(self.job_type.queue_name).supports_schedule
        return WhenForm(posted) if may_wait and self._may("schedule") else None

    def _queue_form(self, posted: Any) -> QueueForm | None:
        return QueueForm(self.job_type, posted) if self._may("choose_queue") else None

    def _tell_form(self, posted: Any) -> TellForm | None:
        offers = self.chunks is None and self._may("view")
        return TellForm(self.request.user, posted) if offers else None

    @property
    def may_rehearse(self) -> bool:
        """Return whether the job can be rehearsed in the queue of its type. Several jobs in a batch cannot."""
        return self.job_type.dry_run and self.chunks is None and backend_of(self.job_type.queue_name).supports_dry_run

    def _may(self, action: str) -> bool:
        return permissions.can(self.request.user, action, self.job_type)

    @property
    def forms(self) -> list[BaseForm]:
        """Return all forms of the page, in the order in which they are validated."""
        return [form for form in (self.arguments, self.when, self.queue, self.tell, self.confirm) if form is not None]

    def show(self, status: int = 200) -> HttpResponseBase:
        """Return the page with its forms and their errors."""
        has_errors = any(form.is_bound and form.errors for form in self.forms)
        return rendering.page(
            self.request,
            self.template,
            Job._meta,
            media=sum((form.media for form in self.forms), RUN_MEDIA),
            job_type=self.job_type,
            summary=first_paragraph(self.job_type),
            budgets=budgets_in_words(self.job_type),
            sections=self._sections(),
            forms=self.forms,
            has_errors=has_errors,
            was_saving=self.was_saving,
            again=prefill.to_enter_again(self.arguments) if has_errors else [],
            is_multipart=any(form.is_multipart() for form in self.forms),
            when=self.when,
            token=self.token,
            chunks=self.chunks,
            signed_chunks=self.chunks.signed(self.job_type) if self.chunks is not None else "",
            texts={"near": settings.IMMEDIATE_WINDOW, **self._button_texts()},
            filled=self.filled,
            **self._more(),
            status=status,
        )

    def _more(self) -> dict[str, Any]:
        """Return the context that only this page has."""
        visible = permissions.Visibility(self.request.user).jobs
        running = run_form.running_of_type(visible, self.job_type.name)
        return {
            "title": _("Run “%s”") % self.job_type.title,
            "starts": starts(self.request, self.job_type, self.filled, self.arguments.fields),
            "may_rehearse": self.may_rehearse,
            "can_save": any(not codec.is_private(field) for field in self.arguments.fields.values()),
            "running": running,
            "is_more_running": len(running) == run_form.SOME,
            "obstacles": obstacles(self.job_type.queue_name, self.job_type.name),
            "may_view": self._may("view"),
            "schedule_url": self._schedule_url(),
            "chart": run_chart.chart_of(self.request, last_runs.of_type(visible, self.job_type.name)),
        }

    def _schedule_url(self) -> str:
        """Return where this form, as it is filled in, becomes that of a schedule; empty if that is not possible."""
        if not self.job_type.schedulable or self.chunks is not None or not self._may("manage_schedule"):
            return ""
        address = links.url_if_there(self.request, "qorworker_schedule_add")
        return f"{address}?{urlencode({'job': self.job_type.name})}" if address else ""

    def _button_texts(self) -> dict[str, str]:
        """Return the texts of the submit button, among which its script chooses by the time."""
        return {
            "now": pgettext("verb", "Run now"), "later": pgettext("verb", "Schedule"), "at": _("Schedule for {}")
        }  # fmt: skip

    def _sections(self) -> list[Any]:
        section = partial(rendering.fieldset, self.model_admin)
        sections = [section(self.arguments, _("Arguments"))] if self.arguments.fields else []
        if self.when is not None:
            sections.append(section(self.when, _("When")))
        if self.queue is not None:
            sections.append(section(self.queue, _("More: queue and priority"), classes=["collapse"]))
        if self.tell is not None:
            sections.append(section(self.tell, _("More: when it ends"), classes=["collapse"]))
        if self.confirm is not None:
            question = str(self.job_type.confirm)
            sections.append(section(self.confirm, _("Please confirm"), classes=["qw-asks"], description=question))
        return sections

    def submit(self) -> HttpResponseBase:
        """Start the job and redirect to its page, or show the page again with the errors."""
        # Every form is validated, so that all errors are shown at once.
        wrong = [form for form in self.forms if not form.is_valid()]
        if not wrong and not tokens.is_token(self.token):
            self.arguments.add_error(None, _("The form was not complete. Check it and submit it again."))
        if self.rehearses and not self.may_rehearse:
            self.arguments.add_error(None, _("This job cannot be rehearsed. Nothing was started."))
        if wrong or self.arguments.errors:
            return self.again()
        try:
            return self._carry_out()
        except InvalidArguments as error:
            return self._refused(error)
        except AlreadyEnqueued as error:
            self.arguments.add_error(None, conflicts.sentence(self.request, error.job, error.message))
            return self.again()
        except (SecretsUnavailable, TooManyJobs, UnsupportedByBackend) as error:
            self.arguments.add_error(None, str(error))
            return self.again()

    def _carry_out(self) -> HttpResponseBase:
        moment = self.when.moment if self.when is not None else None
        later = moment if moment is not None and not starts_at_once(moment) else None
        options: EnqueueOptions = {"user": self.request.user, "origin": Origin.ADMIN}
        if self.rehearses:
            options["dry_run"] = True
        if later is not None:
            options["run_after"] = later
        if self.queue is not None:
            options.update(self.queue.chosen)
        job, is_new = tokens.start_once(
            self.request.user,
            self.token,
            lambda: self._store(self.job_type.using(**options)),
        )
        self._tell(job, is_new, was_near=moment is not None and later is None)
        return HttpResponseRedirect(self._landing(job))

    def _store(self, job_type: JobType[..., Any]) -> Job:
        if self.chunks is not None:
            return self.chunks.start(job_type, self.arguments.cleaned_data, self.request.user)
        job = job_type.enqueue_cleaned(self.arguments.cleaned_data)
        if self.tell is not None and self.tell.how:
            ask_for(self.request, job, self.tell.how)
        return job

    def again(self) -> HttpResponseBase:
        """Return the page with its input and errors; a confirmation must be given anew, as the input will change."""
        if not tokens.is_token(self.token):
            self.token = tokens.new_token(self.request.user)
        if self.confirm is not None and self.confirm.is_valid():
            self.confirm = ConfirmForm(title=self.job_type.title)
        return self.show()

    def _refused(self, error: InvalidArguments) -> HttpResponseBase:
        for field, errors_of_field in error.errors.items():
            for message in errors_of_field:
                self.arguments.add_error(field if field in self.arguments.fields else None, message)
        return self.again()

    def _tell(self, job: Job, is_new: bool, was_near: bool) -> None:
        if not is_new:
            messages.warning(self.request, _("This run was already started."))
            return
        if job.batch is not None:
            number = job.batch.total
            text = ngettext("%(number)s job is queued.", "%(number)s jobs are queued.", number)
            if job.status == "scheduled":
                text = ngettext("%(number)s job is scheduled.", "%(number)s jobs are scheduled.", number)
            messages.success(self.request, text % {"number": qw_number(number)})
            return
        if job.is_existing:
            messages.warning(self.request, conflicts.existing_sentence(self.request, job))
            return
        shown: str = str(job)
        if permissions.can(self.request.user, "view", job=job):
            url = links.url(self.request, "qorworker_job_change", job.pk)
            shown = format_html('<a href="{}">{}</a>', url, shown)
        if job.status == "scheduled":
            sentence = format_html(_("{} is scheduled for {}."), shown, clock(job.run_after))
        elif was_near:
            sentence = format_html(_("{} is queued: the chosen time is past or so near that it starts at once."), shown)
        elif (place := self._position(job)) > 1:
            sentence = format_html(
                _("{} is queued, as number {} in the queue “{}”."), shown, qw_capped(place), job.queue_name
            )
        else:
            sentence = format_html(_("{} is queued."), shown)
        messages.success(self.request, sentence)

    def _position(self, job: Job) -> int:
        """Return the place of the job in its queue; 0 if the user may not know what others have there."""
        return run_form.position(job) if permissions.Visibility(self.request.user).sees_everything else 0

    def _landing(self, job: Job) -> str:
        if job.batch is not None:
            return links.url(self.request, "qorworker_batch_change", job.batch.pk)
        if permissions.can(self.request.user, "view", job=job):
            return links.url(self.request, "qorworker_job_change", job.pk)
        return links.url(self.request, "qorworker_job_catalogue")
