"""What the page of one job shows to one user, in parts; the live view sends them again when they change. Web."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

from django.forms import Media
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.http import urlencode

from qorworker import permissions
from qorworker.admin import links, tokens
from qorworker.admin.conflicts import rule_in_words
from qorworker.admin.display import qw_visible
from qorworker.admin.forms import RescheduleForm
from qorworker.admin.jobs import as_json, failed_rows, history
from qorworker.admin.jobs.abort import AbortRequest, abort_request
from qorworker.admin.jobs.attempts import Piece, Try, strip_of, tries_of
from qorworker.admin.jobs.downloads import has_xlsx
from qorworker.admin.jobs.error import Explanation, explain
from qorworker.admin.jobs.estimate import Estimate, estimate, rounded
from qorworker.admin.jobs.files import Files
from qorworker.admin.jobs.log import Log
from qorworker.admin.jobs.questions import Asked
from qorworker.admin.jobs.rehearsal import ShownRehearsal
from qorworker.admin.jobs.relations import Relations
from qorworker.admin.jobs.repeated import RepeatedRows
from qorworker.admin.jobs.results import Results
from qorworker.admin.jobs.stored_arguments import StoredArguments
from qorworker.admin.jobs.tell import Telling
from qorworker.admin.jobs.verbs import Button, buttons, may_choose_time
from qorworker.admin.jobs.vitals import Vitals
from qorworker.admin.parameters import Parameters
from qorworker.definitions.job_type import JobType
from qorworker.models import Attempt, AuditEntry, Job, Message, Schedule
from qorworker.models.approval import open_approval_of
from qorworker.models.job_vitals import Stack
from qorworker.queries import job_details
from qorworker.queries.catalogue import Usual
from qorworker.queries.reasons import Reason, Why
from qorworker.status import JobStatus

ALIKE = dt.timedelta(days=7)
APPROVAL = ".a"  # before the number of the approval for which a job waits
ASKED = ".q"  # before what the state of a page says of questions
RETURNED_CHARS = 20_000  # of what a job returned; all of it is in job.json


class Story(Relations):
    """All that the page of a job shows to one user. Each part queries the database only when it is shown."""

    def __init__(
        self, request: HttpRequest, job: Job, form: RescheduleForm | None = None, asked: Asked | None = None
    ) -> None:
        self.request, self.job, self.user = request, job, request.user
        self.parameters = Parameters(request)
        self._form, self._asked = form, asked

    # Rights

    @cached_property
    def may_view_log(self) -> bool:
        """Return whether the user may see the log, the results and the error."""
        return permissions.can(self.user, "view_log", job=self.job)

    @cached_property
    def may_view_arguments(self) -> bool:
        """Return whether the user may see the arguments and ``meta``."""
        return permissions.can(self.user, "view_arguments", job=self.job)

    @cached_property
    def may_follow_original(self) -> bool:
        """Return whether the user may know which job this one repeats."""
        return bool(self.visibility.job_numbers([self.job.rerun_of_id]))

    @cached_property
    def schedule(self) -> Schedule | None:
        """Return the schedule that made the job; None if there is none or the user may not see it."""
        made_by = self.job.schedule
        return made_by if made_by is not None and self.visibility.sees_schedule(made_by) else None

    @property
    def schedule_url(self) -> str:
        """Return the address of the schedule; empty if the admin site has no schedules."""
        return links.url_if_there(self.request, "qorworker_schedule_change", self.job.schedule_id)

    @cached_property
    def may_delete(self) -> bool:
        """Return whether the job has ended and the user may delete it."""
        return self.job.is_finished and permissions.can(self.user, "delete", job=self.job)

    @property
    def failure_look(self) -> str:
        """Return the look of the failure: an abort without survivors is no error, nor is a handler that returned."""
        if self.job.is_done_with_row_errors:
            return "row_errors"
        return "killed" if self.job.status == JobStatus.KILLED and not self.survivors else "exception"

    # Buttons and forms

    @cached_property
    def buttons(self) -> list[Button]:
        """Return the verbs that the user may use now, as buttons."""
        return buttons(self.request, self.job)

    @cached_property
    def token(self) -> str:
        """Return the one-time token for the button that makes a new job."""
        return tokens.new_token(self.user)

    @cached_property
    def can_change_and_run(self) -> bool:
        """Return whether the run form can be opened with the arguments of this job."""
        return self.job_type is not None and permissions.can(self.user, "rerun", job=self.job)

    @cached_property
    def can_update(self) -> bool:
        """Return whether the form that changes the job can be opened."""
        arguments = self.job_type.arguments if self.job.can_update and self.job_type is not None else None
        if arguments is None or arguments.problems() or not (arguments.fields or self.job.arguments):
            return False
        return permissions.can(self.user, "update", job=self.job)

    @cached_property
    def schedule_form(self) -> RescheduleForm | None:
        """Return the form for another time, with its errors if it was refused; None if the user may not choose one."""
        if self._form is not None:
            return self._form
        if not may_choose_time(self.user, self.job):
            return None
        return RescheduleForm(initial={"at": self.job.run_after}, is_paused=self.job.is_paused)

    @property
    def has_forms(self) -> bool:
        """Return whether the page has a form whose fields need the scripts of the admin."""
        return self.schedule_form is not None or self.is_asked

    @property
    def form_media(self) -> Media:
        """Return what the forms of the page need."""
        forms = [self.schedule_form, *(asked.form for asked in self.questions)]
        return sum((form.media for form in forms if form is not None), Media())

    # Questions

    @cached_property
    def questions(self) -> list[Asked]:
        """Return the questions of the job that the user may see: what is open first, then the newest."""
        job, shown = self.job, self._asked
        asked = []
        for row in job_details.questions(job):
            may_answer = permissions.may_answer(self.user, job, row)
            if shown is not None and shown.question.pk == row.pk:
                asked.append(shown)
            elif may_answer or self.may_view_log:
                asked.append(Asked(job, row, may_answer=may_answer))
        return asked

    @property
    def is_asked(self) -> bool:
        """Return whether the user is asked for an answer. The page then does not load itself anew without scripts."""
        return any(asked.form is not None for asked in self.questions)

    # State

    @cached_property
    def job_type(self) -> JobType[..., Any] | None:
        """Return the type of the job; None if it has left the code."""
        return self.job.job_type

    @cached_property
    def state(self) -> str:
        """Return a text that changes whenever more of the page than its header, log and results has to change."""
        job = self.job
        facts = (job.is_aborting, job.not_responding, job.can_resume, job.can_pause)
        shown = ".".join([job.status, str(job.attempt), *(str(int(fact)) for fact in facts)])
        return shown + self.approval_state + self.question_state

    @property
    def approval_state(self) -> str:
        """Return a text that changes whenever another approval is asked for; empty if none is."""
        approval = open_approval_of(self.job) if self.job.awaits_approval else None
        return f"{APPROVAL}{approval.pk}" if approval is not None else ""

    @property
    def not_before(self) -> bool:
        """Return whether it waits for something else, and its time is to come, too."""
        job = self.job
        return (job.is_paused or job.awaits_approval) and not job.is_asking and job.due_in() > 0

    @property
    def question_state(self) -> str:
        """Return a text that changes whenever the questions have to be shown anew: a form is left alone till then."""
        job = self.job
        if not job.has_questions:
            return ""
        # One question may follow another between two looks: each has a time of its own.
        return f"{ASKED}{job.waits_for_answer:d}-{job.run_after.timestamp() * 1_000_000:.0f}"

    def shown(self, last_line: int) -> dict[str, Any]:
        """Return the parameters of a page that shows all of this, and the log up to *last_line*."""
        job, sees_log = self.job, self.may_view_log
        after, results, files = (last_line, job.results_rows, job.files_count) if sees_log else (0, 0, 0)
        return {"state": self.state, "after": after, "results": results, "files": files, **self.stamps}

    @cached_property
    def is_live(self) -> bool:
        """Return whether anything is still to come, and the newest lines of the log are shown."""
        return not self.job.is_finished and self.log.before is None

    @cached_property
    def estimate(self) -> Estimate:
        """Return how long the job may still take, or how its duration compares; empty for one that was cancelled."""
        return Estimate() if self.job.status == JobStatus.CANCELLED else estimate(self.job, self.usual.duration)

    @cached_property
    def usual(self) -> Usual:
        """Return what is usual for the type of the job."""
        return job_details.usual(self.job.name, self.visibility.creator)

    @cached_property
    def vitals(self) -> Vitals | None:
        """Return the samples of its process; None if there are none."""
        return Vitals(self.job, lambda: self.usual) if self.job.samples else None

    @property
    def stack(self) -> Stack | None:
        """Return the stack that was asked for last; None if there is none, or if the user may not see it."""
        return self.job.stack if self.may_view_log else None

    @property
    def awaits_stack(self) -> bool:
        """Return whether its stack was asked for and has not come yet."""
        return self.may_view_log and self.job.awaits_stack

    @property
    def stamps(self) -> dict[str, str]:
        """Return for each part that changes on its own a text that changes with it."""
        stack = self.stack
        moments = (stack.taken_at.timestamp() if stack is not None else 0, int(self.awaits_stack))
        return {
            "vitals": self.vitals.stamp if self.vitals is not None else "",
            "stack": f"{moments[0]:.3f}.{moments[1]}" if any(moments) else "",
        }

    @property
    def limit(self) -> dt.timedelta | None:
        """Return how long an attempt may take; None if there is no limit."""
        seconds = self.job_type.timeout if self.job_type is not None else None
        return dt.timedelta(seconds=seconds) if seconds else None

    @property
    def unique(self) -> str:
        """Return which other jobs this one excludes, in words; empty if it excludes none."""
        return rule_in_words(self.job)

    @cached_property
    def abort(self) -> AbortRequest | None:
        """Return the request to abort it, even after it was carried out; None if there is none."""
        may_have_one = self.job.is_aborting or self.job.status == JobStatus.KILLED
        return abort_request(self.job, self.audit) if may_have_one else None

    @cached_property
    def pause(self) -> dict[str, str]:
        """Return who asked the running job to pause, and why, as far as that is recorded."""
        entry = job_details.last_pause(self.job) if self.job.is_pausing and not self.job.is_aborting else None
        if entry is None:
            return {}
        return {"by": entry.user_name, "reason": qw_visible(str(entry.details.get("reason", "")))}

    @cached_property
    def waiting(self) -> list[Reason]:
        """Return the reasons why it has not started."""
        return self.job.why_waiting(self.visibility.jobs_unless_all)

    @property
    def waiting_as_shown(self) -> list[Any]:
        """Return these reasons without what changes from second to second."""
        return [self.starts_in, *(replace(reason, starts_in=None) for reason in self.waiting)]

    @property
    def obstacles(self) -> list[Reason]:
        """Return those of the reasons that are obstacles."""
        return [reason for reason in self.waiting if reason.is_obstacle]

    @property
    def line(self) -> Reason | None:
        """Return the reason that tells its place or what has to happen yet, if nothing is in its way."""
        first = self.waiting[0] if self.waiting else None
        return first if first is not None and not first.is_obstacle and first.kind != Why.TIME else None

    @property
    def starts_in(self) -> dt.timedelta | None:
        """Return an estimate of the wait; None also if it starts at once."""
        expected = self.line.starts_in if self.line is not None else None
        return rounded(expected) if expected else None

    # Failure

    @cached_property
    def explanation(self) -> Explanation | None:
        """Return what is known about its failure; None if it did not fail or the user may not see the log."""
        return explain(self.job, self.attempts[0] if self.attempts else None) if self.may_view_log else None

    @cached_property
    def survivors(self) -> int:
        """Return the number of processes that an abort could not end."""
        return self.attempts[0].survivors if self.attempts and self.job.status == JobStatus.KILLED else 0

    @cached_property
    def alike(self) -> int:
        """Return how often the same error came lately, this time included; 0 if it did not fail."""
        kind = self.explanation.kind if self.explanation is not None else ""
        if not kind or self.job.status != JobStatus.EXCEPTION:
            return 0
        return job_details.alike_errors(self.visibility.jobs, self.job.name, kind, timezone.now() - ALIKE)

    @property
    def alike_url(self) -> str:
        """Return the address of the list of jobs that failed with the same error."""
        kind = self.explanation.kind if self.explanation is not None else ""
        name = f'"{self.job.name}"' if " " in self.job.name else self.job.name
        query = urlencode({"tab": "failed", "q": f"type:{name} error:{kind}"})
        return f"{links.url(self.request, 'qorworker_job_changelist')}?{query}"

    # Log and results

    @cached_property
    def log(self) -> Log:
        """Return the log, with the choices that the address makes among its lines."""
        return Log(self.job, self.parameters, self.attempts if self.parameters.given.get("times") == "start" else [])

    @cached_property
    def results(self) -> Results | None:
        """Return the results; None if there are none, or if the user may not see them."""
        return Results(self.job, self.parameters) if self.may_view_log and self.job.results_count else None

    @cached_property
    def rehearsal(self) -> ShownRehearsal | None:
        """Return what the rehearsal has found; None if it has not ended, or if the user may not see it."""
        report = self.job.rehearsal if self.may_view_log and self.job.is_dry_run else None
        return ShownRehearsal(self.job, report) if report is not None else None

    @cached_property
    def files(self) -> Files | None:
        """Return the files that it has added; None if there are none, or if the user may not see them."""
        return Files(self.job) if self.may_view_log and self.job.files_count else None

    @cached_property
    def returned(self) -> str:
        """Return the return value as JSON for people; empty if there is none, or if the user may not see it."""
        if not self.may_view_log or self.job.result is None:
            return ""
        text = as_json.text(self.job.result)
        return text if len(text) <= RETURNED_CHARS else f"{text[:RETURNED_CHARS]}…"

    has_xlsx = staticmethod(has_xlsx)

    @property
    def rows_without_key(self) -> int:
        """Return how many rows with errors cannot be repeated alone, because they have no key."""
        return failed_rows.without_key(self.job)

    # Arguments

    @cached_property
    def arguments(self) -> StoredArguments:
        """Return what the job was given, with only what the user may see."""
        return StoredArguments(self.request, self.job, self.may_view_arguments)

    @cached_property
    def repeated_rows(self) -> RepeatedRows | None:
        """Return the rows for which alone the job is; None if it is for all, or if the user may not know."""
        keys = self.job.row_keys if self.may_view_arguments else None
        return RepeatedRows.of(keys) if keys is not None else None

    # Attempts and history

    @cached_property
    def attempts(self) -> list[Attempt]:
        """Return the attempts that have ended, the newest first."""
        return job_details.attempts(self.job)

    @cached_property
    def tries(self) -> list[Try]:
        """Return all attempts, also the one that runs now, the newest first."""
        return tries_of(self.job, self.attempts)

    @property
    def strip(self) -> list[Piece]:
        """Return the pieces of the strip that shows waits and attempts."""
        return strip_of(self.job, self.tries)

    @cached_property
    def audit(self) -> list[AuditEntry]:
        """Return the entries of the audit about the job."""
        return job_details.history(self.job)

    @property
    def history(self) -> list[history.Event]:
        """Return the events of the job, oldest first."""
        causes = {entry.details["parent"] for entry in self.audit if "parent" in entry.details}
        visible = self.visibility.jobs.filter(pk__in=causes).values_list("pk", flat=True)
        return history.events_of(self.job, self.audit, self.tries, set(visible), self.messages)

    @cached_property
    def messages(self) -> list[Message]:
        """Return the messages about the job."""
        return job_details.messages(self.job)

    @property
    def telling(self) -> Telling | None:
        """Return how the user can hear of the end of the job."""
        return Telling.of(self.request.user, self.job, self.messages)

    def part(self, name: str) -> str:
        """Return the part *name* of the page as HTML."""
        context = {"job": self.job, "story": self}
        return render_to_string(f"admin/qorworker/job/parts/{name}.html", context, request=self.request)
