"""``MessageAdmin`` and ``MessageRuleAdmin``: the page behind each URL. Web."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import URLPattern

from qorworker import permissions
from qorworker.admin.bases import MessageAdminBase, MessageRuleAdminBase
from qorworker.admin.messages import deliveries, rules
from qorworker.admin.pages import READING, ReadOnlyPages
from qorworker.models import Message, MessageRule

POSTING = ("POST",)
FORMS = ("GET", "HEAD", "POST")


@admin.register(Message)
class MessageAdmin(ReadOnlyPages, MessageAdminBase):
    """The messages, and what became of them."""

    def get_urls(self) -> list[URLPattern]:
        own = [
            self.page("", "changelist", deliveries.messages, methods=READING),
            self.page("<int:pk>/again/", "again", deliveries.again, methods=POSTING),
        ]
        return self.in_site(own)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return permissions.sees_messages(request.user)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return permissions.sees_messages(request.user)


@admin.register(MessageRule)
class MessageRuleAdmin(ReadOnlyPages, MessageRuleAdminBase):
    """The rules of messages: those of the setting, which are only shown, and those that are made here."""

    def get_urls(self) -> list[URLPattern]:
        own = [
            self.page("", "changelist", rules.show_rules, methods=READING),
            self.page("add/", "add", rules.add, methods=FORMS),
            self.page("test/", "test", rules.test, methods=POSTING),
            self.page("<path:object_id>/change/", "change", rules.change, methods=FORMS),
            self.page("<int:pk>/delete/", "delete", rules.delete, methods=FORMS),
        ]
        return self.in_site(own)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return permissions.sees_rules(request.user)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return permissions.sees_rules(request.user)
