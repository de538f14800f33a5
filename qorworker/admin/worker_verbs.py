"""The buttons of a worker: permission, verb, message, redirect. No signal is sent. Web."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext_lazy

from qorworker import permissions
from qorworker.admin import access
from qorworker.exceptions import InvalidRequest
from qorworker.models import Origin, Worker
from qorworker.records import clean_text

# Verb, which is the end of its URL too -> what is said when it is done.
VERBS: dict[str, Any] = {
    "pause": gettext_lazy("“%(worker)s” takes no more jobs within a few seconds. What runs goes on."),
    "resume": gettext_lazy("“%(worker)s” takes jobs again within a few seconds."),
    "drain": gettext_lazy("“%(worker)s” takes no more jobs, and ends when those that run have ended."),
}


def verb(model_admin: Any, request: HttpRequest, name: str, pk: int) -> HttpResponseBase:
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    worker = Worker.objects.filter(pk=pk).first() if pk < 2**63 else None
    if worker is None or not model_admin.has_view_permission(request, worker):
        return access.not_found(request)
    if not permissions.can(request.user, "manage_worker"):
        return access.deny(model_admin, request, "manage_worker")
    options: dict[str, Any] = {"by": request.user, "origin": Origin.ADMIN}
    if name != "resume":
        options["reason"] = " ".join(clean_text(request.POST.get("reason", ""), 200).split())
    try:
        getattr(worker, name)(**options)
    except InvalidRequest as error:
        messages.warning(request, str(error))
    else:
        messages.success(request, VERBS[name] % {"worker": worker.name})
    return HttpResponseRedirect(reverse("admin:qorworker_worker_changelist"))
