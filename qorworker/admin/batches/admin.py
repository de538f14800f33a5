"""``BatchAdmin``: the page behind each URL. Web."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern

from qorworker.admin.bases import BatchAdminBase
from qorworker.admin.batches import page
from qorworker.admin.batches.verbs import VERBS, BatchVerbView
from qorworker.admin.pages import READING, ReadOnlyPages
from qorworker.models import Batch


@admin.register(Batch)
class BatchAdmin(ReadOnlyPages, BatchAdminBase):
    """The pages of batches. Code makes them; users only request verbs."""

    def get_urls(self) -> list[URLPattern]:
        own = [
            self.page("", "changelist", page.batches, methods=READING, viewers_only=True),
            self.page("<path:object_id>/change/", "change", page.detail, methods=READING),
            self.page("<int:pk>/live/", "live", page.live, methods=READING, for_scripts=True),
            *(self.page(f"<int:pk>/{verb.name}/", verb.key, BatchVerbView.view, verb) for verb in VERBS),
        ]
        return self.in_site(own)
