"""Rules of messages that users make in the admin, beside those of the setting ``MESSAGES``. All processes.

The row has the rule as the setting would have it. What belongs to its webhook may be secret, and is encrypted.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from django.conf import settings as django_settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from qorworker.arguments import secrets
from qorworker.conf import settings
from qorworker.messages.rules import FORMATS, NAME_CHARS, Rule, Webhook, rules_of
from qorworker.models.clock import aware
from qorworker.models.own import OwnQuerySet

UNKNOWN = Webhook("")  # stands for one that need not be decrypted


class MessageRuleQuerySet(OwnQuerySet["MessageRule"]):
    def enabled(self) -> MessageRuleQuerySet:
        """Return those that count, unless the setting has one of the same name."""
        return self.filter(enabled=True).order_by("pk")


class MessageRule(models.Model):
    """One rule, in the form in which the setting has it but for its name and its webhook."""

    name = models.CharField(_("name"), max_length=NAME_CHARS, unique=True)
    enabled = models.BooleanField(_("enabled"), default=True)
    given = models.JSONField(default=dict)
    host = models.CharField(max_length=255, blank=True)  # of its webhook; empty: it has none
    format = models.CharField(max_length=5, default=FORMATS[0], choices=[(each, each) for each in FORMATS])
    webhook = models.TextField(blank=True, editable=False)  # encrypted JSON of its address and its secret
    since = models.DateTimeField(editable=False)  # when it was made, or enabled again
    changed_at = models.DateTimeField(_("changed"), editable=False)
    changed_by = models.ForeignKey(
        django_settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", db_constraint=False,
        db_index=False, editable=False,
    )  # fmt: skip

    objects = MessageRuleQuerySet.as_manager()

    class Meta:
        verbose_name = _("rule for messages")
        verbose_name_plural = _("rules for messages")
        default_permissions = ("view",)
        permissions = (("manage_messagerule", "Can create, change, test and delete rules for messages"),)
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    @property
    def rule(self) -> Rule:
        """What it says. Its webhook is not decrypted, and has no address."""
        (rule,) = rules_of([{**self.given, "name": self.name}])
        return replace(rule, since=aware(self.since), webhook=UNKNOWN if self.host else None)

    @property
    def opened(self) -> Rule:
        """What it says, with its webhook.

        :raises qorworker.exceptions.SecretsUnavailable: if that cannot be decrypted.
        """
        return replace(self.rule, webhook=self.opened_webhook) if self.host else self.rule

    @property
    def opened_webhook(self) -> Webhook:
        """Its webhook. Only the setting ``PRIVATE_WEBHOOKS`` allows addresses that are not public.

        :raises qorworker.exceptions.SecretsUnavailable: if it cannot be decrypted.
        """
        stored: dict[str, Any] = json.loads(secrets.decrypt(self.webhook, str(_("webhook"))))
        return Webhook(**stored, format=self.format, private_addresses=settings.PRIVATE_WEBHOOKS)

    def keep_webhook(self, webhook: Webhook | None, host: str = "") -> None:
        """Take over a webhook, encrypted; None: it has none. The row is not saved.

        :raises qorworker.exceptions.SecretsUnavailable: if the extra ``secrets`` is not installed.
        """
        if webhook is None:
            self.host = self.webhook = ""
            return
        facts = {"url": webhook.url, "secret": webhook.secret}
        self.webhook, self.host, self.format = secrets.encrypt(json.dumps(facts)), host, webhook.format


def current_rules(using: str) -> list[Rule]:
    """Return the rules that count: those of the setting, and those of rows. Webhooks of rows are not decrypted."""
    given = rules_of(settings.MESSAGES)
    names = {rule.name for rule in given}
    rows = MessageRule.objects.using(using).enabled()
    return [*given, *(row.rule for row in rows if row.name not in names)]


def rule_called(name: str, using: str) -> Rule | None:
    """Return the rule of that name, with its webhook; None if there is none, or it does not count.

    :raises qorworker.exceptions.SecretsUnavailable: if its webhook cannot be decrypted.
    """
    for rule in rules_of(settings.MESSAGES):
        if rule.name == name:
            return rule
    # MariaDB's usual collations take “Mail” for “mail”.
    rows = MessageRule.objects.using(using).enabled().filter(name=name)
    return next((row.opened for row in rows if row.name == name), None)
