"""The list of the rules for messages, the form of one, and its test. Web."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.debug import sensitive_variables

from qorworker import permissions
from qorworker.actions.messaging import send_test
from qorworker.admin import access, links, rendering
from qorworker.admin.media import SCHEDULE_MEDIA
from qorworker.admin.messages.forms import SECTIONS, RuleForm
from qorworker.admin.parameters import number
from qorworker.conf import settings
from qorworker.exceptions import SecretsUnavailable, UnsupportedByBackend
from qorworker.messages.labels import LABELS
from qorworker.messages.rules import Rule, rules_of
from qorworker.models import Message, MessageRule
from qorworker.text.moments import duration_text

DIGESTS = {"hourly": gettext_lazy("Hourly digest"), "daily": gettext_lazy("Daily digest")}
MOST = 200  # rules on a page


@dataclass(frozen=True)
class ShownRule:
    """One rule of the list."""

    rule: Rule
    host: str = ""  # of its webhook
    row: MessageRule | None = None  # None: it is one of the setting
    is_hidden: bool = False  # the setting has a rule of the same name, which counts instead

    @property
    def events(self) -> list[str]:
        return [str(label) for event, label in LABELS.items() if event in self.rule.on]

    @property
    def scope(self) -> list[str]:
        return sorted(self.rule.jobs) + sorted(self.rule.groups) + sorted(self.rule.queues)

    @property
    def receivers(self) -> list[str]:
        """Whom it tells: of a webhook only the host, as the rest may be secret."""
        hosts = [_("Webhook at %(host)s") % {"host": self.host}] if self.host else []
        deciders = [_("Who may decide")] if self.rule.deciders else []
        return [*self.rule.mail, *self.rule.users, *deciders, *hosts]

    @property
    def pace(self) -> str:
        """Its quiet period, or how often it sends a digest."""
        if self.rule.digest:
            return str(DIGESTS[self.rule.digest])
        return duration_text(self.rule.quiet) if self.rule.quiet else ""

    @property
    def counts(self) -> bool:
        return not self.is_hidden and (self.row is None or self.row.enabled)


def show_rules(model_admin: Any, request: HttpRequest) -> HttpResponseBase:
    """Show ``messagerule/``."""
    if not permissions.sees_rules(request.user):
        return access.deny(model_admin, request, "view_rule")
    given = rules_of(settings.MESSAGES)
    names = {rule.name for rule in given}
    shown = [ShownRule(rule, rule.webhook.host if rule.webhook is not None else "") for rule in given]
    rows = MessageRule.objects.order_by("name")[:MOST]
    shown += [ShownRule(row.rule, row.host, row, row.name in names) for row in rows]
    return rendering.page(
        request,
        "message/rules.html",
        MessageRule._meta,
        title=_("Messages"),
        media=SCHEDULE_MEDIA,
        shown=shown,
        may_manage=permissions.can(request.user, "manage_rule"),
        may_see_messages=permissions.can(request.user, "view_message"),
    )


@sensitive_variables()
def add(model_admin: Any, request: HttpRequest) -> HttpResponseBase:
    """Show the form of a new rule, and store it."""
    return _form(model_admin, request, None)


@sensitive_variables()
def change(model_admin: Any, request: HttpRequest, object_id: str) -> HttpResponseBase:
    """Show the form of a rule, and store it."""
    if not permissions.can(request.user, "manage_rule"):
        return access.deny(model_admin, request, "manage_rule")
    pk = number(object_id)
    row = MessageRule.objects.filter(pk=pk).first() if pk is not None else None
    return _form(model_admin, request, row) if row is not None else access.not_found(request)


@sensitive_variables()
def _form(model_admin: Any, request: HttpRequest, row: MessageRule | None) -> HttpResponseBase:
    if not permissions.can(request.user, "manage_rule"):
        return access.deny(model_admin, request, "manage_rule")
    form = RuleForm(row, request.POST if request.method == "POST" else None)
    changed = row.changed_at.isoformat() if row is not None else ""
    if form.is_bound and form.is_valid() and request.POST.get("qw-changed", "") != changed:
        form.add_error(
            None, _("Another user has changed this rule in the meantime. Save again to replace their changes.")
        )
    if form.is_bound and form.is_valid():
        try:
            saved = form.save(request.user)
        except SecretsUnavailable as error:
            form.add_error("webhook_url", str(error))
        else:
            action = "change message rule" if row is not None else "create message rule"
            access.record(request, action, "ok", rule=saved.name)
            messages.success(request, _("“%(name)s” was saved.") % {"name": saved.name})
            return _to_list(request)
    return rendering.page(
        request,
        "message/rule.html",
        MessageRule._meta,
        title=_("Change “%s”") % row if row is not None else _("Add a rule for messages"),
        media=form.media + SCHEDULE_MEDIA,
        status=422 if form.is_bound else 200,
        row=row,
        changed=changed,
        forms=[form],
        has_errors=form.is_bound,
        sections=[
            rendering.fieldset(model_admin, form, str(title), [name for name in names if name in form.fields])
            for title, names in SECTIONS
        ],
    )


def delete(model_admin: Any, request: HttpRequest, pk: int) -> HttpResponseBase:
    """Ask whether to delete a rule, and delete it."""
    if not permissions.can(request.user, "manage_rule"):
        return access.deny(model_admin, request, "manage_rule")
    row = MessageRule.objects.filter(pk=pk).first() if pk < 2**63 else None
    if row is None:
        return access.not_found(request)
    if request.method == "POST":
        name = row.name
        row.delete()
        access.record(request, "delete message rule", "ok", rule=name)
        messages.success(request, _("“%(name)s” was deleted.") % {"name": name})
        return _to_list(request)
    return rendering.page(
        request,
        "message/delete.html",
        MessageRule._meta,
        title=_("Delete the rule “%s”?") % row,
        media=SCHEDULE_MEDIA,
        row=row,
    )


def test(model_admin: Any, request: HttpRequest) -> HttpResponseBase:
    """Have a message sent by the rule that the form names. Its receivers may be slow, so a job sends it."""
    if not permissions.can(request.user, "manage_rule"):
        return access.deny(model_admin, request, "manage_rule")
    name = request.POST.get("qw-rule", "")
    try:
        number_sent = send_test(name, Message.objects.db)
    except UnsupportedByBackend as error:
        messages.error(request, str(error))
        return _to_list(request)
    if not number_sent:
        messages.warning(request, _("There is no such rule that counts, or it has no receiver of its own."))
        return _to_list(request)
    access.record(request, "test message rule", "ok", rule=name)
    text = ngettext(
        "“%(name)s”: %(number)d test message is on its way. The list of messages shows what the receiver answers.",
        "“%(name)s”: %(number)d test messages are on their way. The list of messages shows what the receivers answer.",
        number_sent,
    )
    messages.success(request, text % {"name": name, "number": number_sent})
    if permissions.can(request.user, "view_message"):
        return HttpResponseRedirect(links.url(request, "qorworker_message_changelist"))
    return _to_list(request)


def _to_list(request: HttpRequest) -> HttpResponseBase:
    return HttpResponseRedirect(links.url(request, "qorworker_messagerule_changelist"))
