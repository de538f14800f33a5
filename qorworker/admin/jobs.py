"""``JobAdmin``: which page answers which URL, and what Django's own pages may do with jobs. Web."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from qorworker import permissions
from qorworker.admin import (
    access,
    as_json,
    bulk,
    catalogue,
    detail,
    downloads,
    list_json,
    list_live,
    listing,
    live,
    presets,
    run,
    update,
    verb_view,
)
from qorworker.admin.asked import number
from qorworker.admin.bases import JobAdminBase
from qorworker.admin.many import NumberedActions
from qorworker.admin.media import LIST_MEDIA
from qorworker.admin.verbs import VERBS
from qorworker.models import Job, JobQuerySet, pages

View = Callable[..., HttpResponseBase]
FOR_SCRIPTS = ("live", "json", "autocomplete", "list_json", "list_live")


@admin.register(Job)
class JobAdmin(NumberedActions, JobAdminBase):
    change_list_template = "admin/qorworker/job/list.html"
    actions = tuple(bulk.ACTIONS)
    show_full_result_count = False
    list_per_page = 50
    paginator = listing.CappedPaginator
    search_fields = ("name",)

    # URLs

    def get_urls(self) -> list[URLPattern]:
        own = [
            self._page("catalogue/", "catalogue", catalogue.catalogue),
            self._page("list.json", "list_json", list_json.list_json),
            self._page("list/live/", "list_live", list_live.list_live),
            self._page("run/<str:name>/", "run", run.run),
            self._page("run/<str:name>/save/", "save_arguments", presets.save),
            self._page("preset/<int:pk>/delete/", "delete_preset", presets.delete),
            self._page("autocomplete/<str:name>/<str:field>/", "autocomplete", run.autocomplete),
            self._page("<int:pk>/live/", "live", live.live),
            self._page("<int:pk>/job.json", "json", as_json.job_json),
            self._page("<int:pk>/log.txt", "log", downloads.log),
            self._page("<int:pk>/results.csv", "results", downloads.results),
            self._page("<int:pk>/results.xlsx", "xlsx", downloads.spreadsheet),
            self._page("<int:pk>/file/<str:name>/", "file", downloads.file),
            self._page("<int:pk>/reschedule/", "reschedule", verb_view.reschedule),
            self._page("<int:pk>/update/", "update", update.update),
        ]
        own += [self._page(f"<int:pk>/{name}/", name.replace("-", "_"), verb_view.verb, name) for name in VERBS]
        return own + super().get_urls()

    def _page(self, route: str, name: str, view: View, *given: Any) -> URLPattern:
        @sensitive_variables()  # the arguments of a job may be secrets, also in the report of an error
        def page(request: HttpRequest, **options: Any) -> HttpResponseBase:
            with access.on_record(request):
                return view(self, request, *given, **options)

        wrapped: View = self.admin_site.admin_view(sensitive_post_parameters()(update_wrapper(page, view)))
        if name in FOR_SCRIPTS:
            wrapped = access.for_scripts(self.admin_site, wrapped)
        return path(route, wrapped, name=f"qorworker_job_{name}")

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> Any:
        return detail.detail(self, request, object_id)

    def history_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> Any:
        if (pk := number(object_id)) is None or access.visible_job(request, pk) is None:
            return access.not_found(request)
        return HttpResponseRedirect(reverse("admin:qorworker_job_change", args=(pk,)) + "#history")

    # Who may do what with Django's own pages

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
        if obj is None:
            return bool(request.user.has_perm(permissions.PERMISSIONS["delete"]))
        return obj.is_finished and permissions.can(request.user, "delete", job=obj)

    # The list

    def get_queryset(self, request: HttpRequest) -> JobQuerySet:
        return permissions.visible_jobs(request.user, Job.objects.all())

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return listing.JobChangeList

    def get_list_display(self, request: HttpRequest) -> Any:
        return listing.columns(request)

    def get_list_display_links(self, request: HttpRequest, list_display: Any) -> Any:
        return [column for column in list_display if column.__name__ in ("number", "job")]

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> dict[str, Any]:
        """Django's, without deleting what has not ended; ours in the tabs where they make sense."""
        filters = listing.filters_of(request)
        # Django 6.1 asks for the place of the actions; the list is the usual one, and the only one before.
        actions = super().get_actions(request, *([] if action_location is None else [action_location]))
        actions.pop("delete_selected", None)
        if request.method == "POST":  # who asks for more than was offered is refused for each job, and written down
            return actions
        return {
            name: action
            for name, action in actions.items()
            if name not in bulk.BULK or (not filters.errors and bulk.is_offered(name, filters.tab, request.user))
        }

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        return queryset, False  # the filters search, together with all else that narrows the list

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        # Filtering by any field would tell arguments and errors to those who may not see them.
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        with access.on_record(request):
            return super().changelist_view(request, {**listing.context(request), **(extra_context or {})})

    def delete_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> Any:
        with access.on_record(request):
            job = access.visible_job(request, pk) if (pk := number(object_id)) is not None else None
            if job is not None and not permissions.can(request.user, "delete", job=job):
                return access.deny(self, request, "delete", job=job)
            if job is not None and not job.is_finished:
                return self._not_deleted(request, job.pk)  # it was when the page with the button was made
            return super().delete_view(request, object_id, *args, **kwargs)

    # Deleting

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Without reading a hundred thousand log lines to list them."""
        jobs = list(objs)
        kept = [str(job) for job in jobs if not self.has_delete_permission(request, job)]
        counts = {
            Job._meta.verbose_name_plural: len(jobs),
            _("log lines"): sum(job.log_lines for job in jobs),
            _("results rows"): sum(job.results_rows for job in jobs),
        }
        return [str(job) for job in jobs], {what: count for what, count in counts.items() if count}, set(), kept

    def delete_model(self, request: HttpRequest, obj: Job) -> None:
        pages.delete_ended(obj, request.user)

    def response_delete(self, request: HttpRequest, obj_display: str, obj_id: int) -> HttpResponse:
        if pages.exists(obj_id):  # it was taken up again while this was asked
            return self._not_deleted(request, obj_id)
        super().response_delete(request, obj_display, obj_id)  # says what was deleted
        return HttpResponseRedirect(reverse("admin:qorworker_job_changelist"))

    def _not_deleted(self, request: HttpRequest, pk: int) -> HttpResponse:
        messages.warning(request, _("It has not ended, so it cannot be deleted. Nothing was changed."))
        return HttpResponseRedirect(reverse("admin:qorworker_job_change", args=(pk,)))

    @property
    def media(self) -> Any:
        return super().media + LIST_MEDIA
