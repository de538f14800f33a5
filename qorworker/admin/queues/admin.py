"""``QueueAdmin``: the page behind each URL. Web."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern

from qorworker.admin.bases import QueueAdminBase
from qorworker.admin.pages import READING, ReadOnlyPages
from qorworker.admin.queues import page
from qorworker.admin.queues.verbs import VERBS, QueueVerbView
from qorworker.models import Queue


@admin.register(Queue)
class QueueAdmin(ReadOnlyPages, QueueAdminBase):
    """The page of queues. Queues are not rows: they come from the settings."""

    def get_urls(self) -> list[URLPattern]:
        own = [
            self.page("", "changelist", page.queues, methods=READING, viewers_only=True),
            self.page("live/", "live", page.live, methods=READING, viewers_only=True, for_scripts=True),
            self.page("list.json", "json", page.list_json, methods=READING, for_scripts=True),
            *(self.page(f"{verb.name}/", verb.key, QueueVerbView.view, verb) for verb in VERBS),
        ]
        return self.in_site(own)
