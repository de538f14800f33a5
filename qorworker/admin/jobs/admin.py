"""``JobAdmin``: the page behind each URL, and the rights of Django's own pages over jobs. Web."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from qorworker import permissions
from qorworker.actions import pruning
from qorworker.admin import access, links
from qorworker.admin.bases import JobAdminBase
from qorworker.admin.dashboard import matrix, page
from qorworker.admin.jobs import (
    as_json,
    bulk,
    catalogue,
    changelist,
    detail,
    downloads,
    list_json,
    list_live,
    live,
    presets,
    question_view,
    run_form,
    tell,
    update,
)
from qorworker.admin.jobs.verb_views import JobVerbView
from qorworker.admin.jobs.verbs import RESCHEDULE, VERBS
from qorworker.admin.many import NumberedActions
from qorworker.admin.media import LIST_MEDIA, without_boxes
from qorworker.admin.pages import READING, Pages
from qorworker.admin.parameters import number
from qorworker.models import Job, JobQuerySet, Origin
from qorworker.queries import site


@admin.register(Job)
class JobAdmin(Pages, NumberedActions, JobAdminBase):
    """The pages of jobs. Django's own forms neither add nor change a job."""

    change_list_template = "admin/qorworker/job/list.html"
    actions = tuple(bulk.ACTIONS)
    show_full_result_count = False
    list_per_page = 50
    paginator = changelist.CappedPaginator
    search_fields = ("name",)

    # URLs

    def get_urls(self) -> list[URLPattern]:
        read = partial(self.page, methods=READING)
        data = partial(read, for_scripts=True)
        own = [
            read("catalogue/", "catalogue", catalogue.catalogue),
            read("failures/", "failures", matrix.matrix, viewers_only=True),
            data("dashboard/live/", "dashboard_live", page.live_board, viewers_only=True),
            data("list.json", "list_json", list_json.list_json, viewers_only=True),
            data("list/live/", "list_live", list_live.list_live, viewers_only=True),
            self.page("run/<str:name>/", "run", run_form.run),
            self.page("run/<str:name>/save/", "save_arguments", presets.save),
            self.page("preset/<int:pk>/delete/", "delete_preset", presets.delete),
            self.page("autocomplete/<str:name>/<str:field>/", "autocomplete", run_form.autocomplete, for_scripts=True),
            data("<int:pk>/live/", "live", live.live),
            data("<int:pk>/job.json", "json", as_json.job_json),
            read("<int:pk>/log.txt", "log", downloads.log),
            read("<int:pk>/results.csv", "results", downloads.results),
            read("<int:pk>/results.json", "results_json", downloads.results_json),
            read("<int:pk>/results.xlsx", "xlsx", downloads.spreadsheet),
            read("<int:pk>/file/<str:name>/", "file", downloads.file),
            read("<int:pk>/files/<str:token>/", "added", downloads.added),
            self.page("<int:pk>/update/", "update", update.update),
            self.page("<int:pk>/tell-me/", "tell_me", tell.tell_me),
            self.page("<int:pk>/questions/<int:number>/", "answer", question_view.answer),
        ]
        for verb in (*VERBS.values(), RESCHEDULE):
            own.append(self.page(f"<int:pk>/{verb.name}/", verb.key, JobVerbView.view, verb))
        return self.in_site(own + super().get_urls())

    @method_decorator(require_safe)
    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> Any:
        return detail.detail(self, request, object_id)

    def history_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> Any:
        """Redirect to the history on the page of the job, or answer 404 if the user may not see it."""
        if (pk := number(object_id)) is None or access.visible_job(request, pk) is None:
            return access.not_found(request)
        return HttpResponseRedirect(links.url(request, "qorworker_job_change", pk) + "#history")

    # Rights on Django's own pages

    def has_module_permission(self, request: HttpRequest) -> bool:
        return permissions.can_view_any(request.user)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Job | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Job | None = None) -> bool:
        if obj is None:
            return permissions.can_view_any(request.user)
        return permissions.can(request.user, "view", job=obj)

    def has_delete_permission(self, request: HttpRequest, obj: Job | None = None) -> bool:
        """Return whether the user may delete *obj*, which must have ended; None stands for jobs in general."""
        if obj is None:
            return bool(request.user.has_perm(permissions.PERMISSIONS["delete"]))
        return obj.is_finished and permissions.can(request.user, "delete", job=obj)

    # The list

    def get_queryset(self, request: HttpRequest) -> JobQuerySet:
        return permissions.Visibility(request.user).jobs

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return changelist.JobChangeList

    def get_list_display(self, request: HttpRequest) -> Any:
        return changelist.columns(request)

    def get_list_display_links(self, request: HttpRequest, list_display: Any) -> Any:
        return [column for column in list_display if column.__name__ in ("number", "job")]

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> dict[str, Any]:
        """Return the actions that make sense in the current tab, without that of Django, which deletes anything.

        There are none if a part of the address is not understood, because then more jobs match than was meant.
        """
        filters = changelist.filters_of(request)
        # Django 6.1 asks for the place of the actions; the list is the usual one, and the only one before.
        actions = super().get_actions(request, *([] if action_location is None else [action_location]))
        actions.pop("delete_selected", None)
        if filters.errors:
            return {name: action for name, action in actions.items() if name not in bulk.BULK}
        if request.method == "POST":  # an action that was not offered is refused for each job, and recorded
            return actions
        return {
            name: action
            for name, action in actions.items()
            if name not in bulk.BULK or bulk.is_offered(name, filters.tab, request.user)
        }

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        return queryset, False  # the filters search, together with all else that narrows the list

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        # Filtering by any field would reveal arguments and errors to users who may not see them.
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        with access.on_record(request):
            return super().changelist_view(request, {**changelist.context(request), **(extra_context or {})})

    def delete_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> Any:
        """Delete the job after a question, unless it has started again since the button was shown."""
        with access.on_record(request):
            job = access.visible_job(request, pk) if (pk := number(object_id)) is not None else None
            if job is not None and not permissions.can(request.user, "delete", job=job):
                return access.deny(self, request, "delete", job=job)
            if job is not None and not job.is_finished:
                return self._not_deleted(request, job.pk)  # it had ended when the page with the button was made
            return super().delete_view(request, object_id, *args, **kwargs)

    # Deleting

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Count log lines and results rows by the jobs' own counters, without reading them."""
        jobs = list(objs)
        kept = [str(job) for job in jobs if not self.has_delete_permission(request, job)]
        counts: dict[Any, int] = {
            Job._meta.verbose_name_plural: len(jobs),
        }
        if all(permissions.can(request.user, "view_log", job=job) for job in jobs):
            counts[_("log lines")] = sum(job.log_lines for job in jobs)
            counts[_("results rows")] = sum(job.results_rows for job in jobs)
            counts[_("files")] = sum(job.files_count for job in jobs)
        return [str(job) for job in jobs], {what: count for what, count in counts.items() if count}, set(), kept

    def delete_model(self, request: HttpRequest, obj: Job) -> None:
        pruning.delete_if_ended(obj, by=request.user, origin=Origin.ADMIN)

    def response_delete(self, request: HttpRequest, obj_display: str, obj_id: int) -> HttpResponse:
        """Redirect to the list, or to the job if it started again before it could be deleted."""
        if site.exists(obj_id):  # it was started again in the meantime
            return self._not_deleted(request, obj_id)
        super().response_delete(request, obj_display, obj_id)  # says what was deleted
        return HttpResponseRedirect(links.url(request, "qorworker_job_changelist"))

    def _not_deleted(self, request: HttpRequest, pk: int) -> HttpResponse:
        messages.warning(request, _("It has not ended, so it cannot be deleted. Nothing was changed."))
        return HttpResponseRedirect(links.url(request, "qorworker_job_change", pk))

    @property
    def media(self) -> Any:
        return without_boxes(super().media) + LIST_MEDIA
