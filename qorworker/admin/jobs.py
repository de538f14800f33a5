"""``JobAdmin``: which page answers which URL, and what Django's own pages may do with jobs. Web."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from qorworker import permissions
from qorworker.admin import access, bulk, catalogue, detail, downloads, listing, live, run, verb_view
from qorworker.admin.bases import JobAdminBase
from qorworker.admin.media import MEDIA
from qorworker.admin.verbs import VERBS
from qorworker.models import Job, JobQuerySet, pages

View = Callable[..., HttpResponseBase]


@admin.register(Job)
class JobAdmin(JobAdminBase):
    change_list_template = "admin/qorworker/job/list.html"
    actions = tuple(bulk.ACTIONS)
    show_full_result_count = False
    list_per_page = 50
    paginator = listing.CappedPaginator
    search_fields = ("name",)
    search_help_text = _("The number of a job, or a part of its title or name.")

    # URLs

    def get_urls(self) -> list[URLPattern]:
        own = [
            self._page("catalogue/", "catalogue", catalogue.catalogue),
            self._page("run/<str:name>/", "run", run.run),
            self._page("autocomplete/<str:name>/<str:field>/", "autocomplete", run.autocomplete),
            self._page("<int:pk>/live/", "live", live.live),
            self._page("<int:pk>/log.txt", "log", downloads.log),
            self._page("<int:pk>/results.csv", "results", downloads.results),
            self._page("<int:pk>/reschedule/", "reschedule", verb_view.reschedule),
        ]
        own += [self._page(f"<int:pk>/{name}/", name.replace("-", "_"), verb_view.verb, name) for name in VERBS]
        return own + super().get_urls()

    def _page(self, route: str, name: str, view: View, *given: Any) -> URLPattern:
        @sensitive_variables()  # the arguments of a job may be secrets, also in the report of an error
        def page(request: HttpRequest, **options: Any) -> HttpResponseBase:
            with access.on_record(request):
                return view(self, request, *given, **options)

        wrapped = self.admin_site.admin_view(sensitive_post_parameters()(update_wrapper(page, view)))
        return path(route, wrapped, name=f"qorworker_job_{name}")

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> Any:
        return detail.detail(self, request, object_id)

    def history_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> Any:
        if (pk := detail.number(object_id)) is None or access.visible_job(request, pk) is None:
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
        return listing.columns(self, request)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        return listing.search(queryset, search_term), False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        # Filtering by any field would tell arguments and errors to those who may not see them.
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        with access.on_record(request):
            return super().changelist_view(request, {**listing.context(self, request), **(extra_context or {})})

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        with access.on_record(request):
            return super().delete_view(request, *args, **kwargs)

    # Deleting

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Without reading a hundred thousand log lines to list them."""
        jobs = list(objs[: bulk.AT_ONCE + 1])
        kept = [str(job) for job in jobs if not self.has_delete_permission(request, job)]
        if len(jobs) > bulk.AT_ONCE:
            jobs, kept = [], [_("At most %d jobs can be deleted at once. Select fewer.") % bulk.AT_ONCE]
        counts = {
            Job._meta.verbose_name_plural: len(jobs),
            _("log lines"): sum(job.log_lines for job in jobs),
            _("results rows"): sum(job.results_rows for job in jobs),
        }
        return [str(job) for job in jobs], {what: count for what, count in counts.items() if count}, set(), kept

    def delete_model(self, request: HttpRequest, obj: Job) -> None:
        access.record(request, "delete", "ok" if pages.delete_ended(obj) else "too late", job=obj)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for job in queryset:
            self.delete_model(request, job)

    @property
    def media(self) -> Any:
        return super().media + MEDIA
