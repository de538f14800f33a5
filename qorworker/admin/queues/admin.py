"""``QueueAdmin``: the page behind each URL. Web."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import URLPattern

from qorworker import permissions
from qorworker.admin.bases import QueueAdminBase
from qorworker.admin.pages import READING, Pages
from qorworker.admin.queues import page
from qorworker.admin.queues.verbs import VERBS, QueueVerbView
from qorworker.models import Queue


@admin.register(Queue)
class QueueAdmin(Pages, QueueAdminBase):
    """The page of queues. Queues are not rows: they come from the settings."""

    def get_urls(self) -> list[URLPattern]:
        own = [
            self.page("", "changelist", page.queues, methods=READING, viewers_only=True),
            self.page("live/", "live", page.live, methods=READING, viewers_only=True, for_scripts=True),
            self.page("list.json", "json", page.list_json, methods=READING, for_scripts=True),
            *(self.page(f"{verb.name}/", verb.key, QueueVerbView.view, verb) for verb in VERBS),
        ]
        return self.in_site(own)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return permissions.can_view_any(request.user)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return permissions.can_view_any(request.user)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
