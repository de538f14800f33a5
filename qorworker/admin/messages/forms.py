"""The form of a rule for messages, as strict as the setting. Web."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.contrib.admin.widgets import AdminIntegerFieldWidget, AdminTextareaWidget, AdminTextInputWidget
from django.contrib.auth import get_user_model
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from qorworker.conf import settings
from qorworker.definitions.registry import registry
from qorworker.exceptions import SecretsUnavailable
from qorworker.messages import rules
from qorworker.messages.addresses import is_public
from qorworker.messages.labels import LABELS
from qorworker.messages.rules import NAME_CHARS, NEEDED_FOR, Webhook
from qorworker.models import MessageRule, database_now

MINUTE = 60
LONGEST = 60 * 24 * 366  # minutes
PACES = {"hourly": gettext_lazy("Every hour"), "daily": gettext_lazy("Every day")}  # of digests
PLAIN = ("on", "jobs", "groups", "queues", "mail", "users", "deciders", "times", "digest")
SECTIONS: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (gettext_lazy("What"), ("name", "enabled", "on", "older_than", "times", "remind")),
    (gettext_lazy("Only these"), ("jobs", "groups", "queues")),
    (gettext_lazy("To whom"), ("mail", "users", "deciders")),
    (
        gettext_lazy("Webhook"),
        ("webhook_url", "webhook_secret", "webhook_format", "webhook_removed"),
    ),
    (gettext_lazy("How often"), ("quiet", "digest")),
)


class LinesField(forms.CharField):
    """Texts, one in each line."""

    widget = AdminTextareaWidget

    def __init__(self, **options: Any) -> None:
        super().__init__(required=False, widget=AdminTextareaWidget(attrs={"rows": 3}), **options)

    def clean(self, value: Any) -> list[str]:
        lines = (line.strip() for line in str(super().clean(value)).splitlines())
        return list(dict.fromkeys(line for line in lines if line))


def _minutes(label: Any, least: int, help_text: Any = "") -> forms.IntegerField:
    return forms.IntegerField(
        label=label, required=False, min_value=least, max_value=LONGEST, widget=AdminIntegerFieldWidget,
        help_text=help_text,
    )  # fmt: skip


def _secret(label: Any, help_text: Any = "") -> forms.CharField:
    widget = forms.PasswordInput(attrs={"class": "vTextField", "autocomplete": "new-password"})
    return forms.CharField(
        label=label, required=False, strip=True, max_length=2_000, widget=widget, help_text=help_text
    )


class RuleForm(forms.Form):
    """A rule. The address and the secret of its webhook are never shown again; empty fields keep them."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=NAME_CHARS, widget=AdminTextInputWidget)
    enabled = forms.BooleanField(label=gettext_lazy("Enabled"), required=False, initial=True)
    on = forms.MultipleChoiceField(
        label=gettext_lazy("Events"), choices=list(LABELS.items()), widget=forms.CheckboxSelectMultiple
    )
    older_than = _minutes(gettext_lazy("A job waits too long after (minutes)"), 1)
    times = forms.FloatField(
        label=gettext_lazy("A job takes longer than usual at (times the usual duration)"), required=False,
        min_value=1.1, max_value=1_000,
    )  # fmt: skip
    remind = _minutes(gettext_lazy("Remind of what is undecided after (minutes)"), 1)
    jobs = forms.MultipleChoiceField(label=gettext_lazy("Job types"), required=False)
    groups = forms.MultipleChoiceField(label=gettext_lazy("Groups"), required=False)
    queues = forms.MultipleChoiceField(label=gettext_lazy("Queues"), required=False)
    mail = LinesField(label=gettext_lazy("Addresses of mail"), help_text=gettext_lazy("One in each line."))
    users = LinesField(
        label=gettext_lazy("Users"),
        help_text=gettext_lazy("User names, one in each line. They get a mail if they may see what it is about."),
    )
    deciders = forms.BooleanField(
        label=gettext_lazy("Everybody who may approve, or answer the question"), required=False
    )
    webhook_url = _secret(gettext_lazy("Address"))
    webhook_secret = _secret(gettext_lazy("Secret"), gettext_lazy("It signs the messages. Slack needs none."))
    webhook_format = forms.ChoiceField(
        label=gettext_lazy("Format"), choices=[("json", "JSON"), ("slack", "Slack")], initial="json"
    )
    webhook_removed = forms.BooleanField(label=gettext_lazy("Remove the webhook"), required=False)
    quiet = _minutes(
        gettext_lazy("Quiet period (minutes)"), 0,
        gettext_lazy("For this time nothing is sent about an error that repeats."),
    )  # fmt: skip

    digest = forms.ChoiceField(
        label=gettext_lazy("A digest instead of single messages"), required=False,
        choices=[("", gettext_lazy("No")), *PACES.items()],
    )  # fmt: skip

    def __init__(self, row: MessageRule | None, data: Any = None) -> None:
        super().__init__(data, initial=_initial(row) if row is not None else None)
        self.row = row
        self.kept: Webhook | None = None
        given = row.given if row is not None else {}
        self._choose("jobs", ((each.name, str(each.title)) for each in registry.all()), given)
        self._choose("groups", _groups().items(), given)
        self._choose("queues", ((name, name) for name in settings.QUEUES), given)
        if row is None or not row.host:
            del self.fields["webhook_removed"]
        else:
            self.fields["webhook_url"].help_text = _("It posts to %(host)s. Leave it empty to keep that.") % {
                "host": row.host
            }
            self.fields["webhook_secret"].help_text = _("Leave it empty to keep the one that is stored.")

    def _choose(self, name: str, known: Iterable[tuple[str, str]], given: dict[str, Any]) -> None:
        """Offer what is known, and what the rule has already though nothing is called like that any more."""
        choices = dict(known)
        choices.update((each, each) for each in given.get(name, ()) if each not in choices)
        self.fields[name].choices = sorted(choices.items(), key=lambda choice: choice[1])  # type: ignore[attr-defined]

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        others = MessageRule.objects.filter(name=name)
        others = others.exclude(pk=self.row.pk) if self.row is not None else others
        if others.exists() or any(rule["name"] == name for rule in settings.MESSAGES):
            raise forms.ValidationError(_("There is another rule with this name."))
        if not name.isprintable():
            raise forms.ValidationError(_("It has characters that cannot be printed."))
        return name

    def clean_mail(self) -> list[str]:
        return self._lines_that("mail", rules.is_address, _("“%s” is not an address of mail."))

    def clean_users(self) -> list[str]:
        names: list[str] = self.cleaned_data["users"]
        known = _known_users(names)
        return self._lines_that("users", known.__contains__, _("There is no user “%s”."))

    def _lines_that(self, field: str, fits: Any, text: str) -> list[str]:
        lines: list[str] = self.cleaned_data[field]
        if wrong := [line for line in lines if not fits(line)]:
            raise forms.ValidationError([text % line for line in wrong])
        return lines

    def clean_webhook_url(self) -> str:
        url: str = self.cleaned_data["webhook_url"]
        if url and not rules.is_url(url):
            raise forms.ValidationError(
                _("Enter an address such as https://example.com/hook, without a user or a fragment.")
            )
        if url and not settings.PRIVATE_WEBHOOKS and _is_private(str(urlsplit(url).hostname)):
            raise forms.ValidationError(_("This address is not public. The setting PRIVATE_WEBHOOKS would allow it."))
        return url

    def clean(self) -> None:
        if self.errors:
            return
        self._check_events(self.cleaned_data["on"])
        self._check_webhook()
        if not self.errors and (found := rules.problem([self._as_setting()])):
            self.add_error(None, found)

    def _check_events(self, events: Collection[str]) -> None:
        data = {**self.cleaned_data}  # an error takes a field out of the other
        for name, needed in NEEDED_FOR.items():
            if data[name] and not set(needed) & set(events):
                labels = ", ".join(str(LABELS[event]) for event in needed)
                self.add_error(name, _("This says nothing without one of these events: %s") % labels)
        if "queue_older_than" in events and not data["older_than"]:
            self.add_error("older_than", _("Say after how many minutes."))
        if data["digest"]:
            for name in ("quiet", "deciders"):
                if data[name]:
                    self.add_error(name, _("This does not go together with a digest."))
        untyped = next((event for event in rules.WITHOUT_TYPE if event in events), None)
        for name in ("jobs", "groups"):
            if untyped and data[name]:
                text = _("“%s” is about no job type. Give that a rule of its own.") % LABELS[untyped]
                self.add_error(name, text)
        rest = [event for event in events if event not in rules.DECIDED]
        has_webhook = data["webhook_url"] or (self._had_webhook and not data.get("webhook_removed"))
        if not (data["mail"] or data["users"] or has_webhook or (data["deciders"] and not rest)):
            about = f" ({LABELS[rest[0]]})" if data["deciders"] else ""
            self.add_error("mail", _("Nobody gets its messages. Name a receiver.") + about)

    @property
    def _had_webhook(self) -> bool:
        return self.row is not None and bool(self.row.host)

    def _check_webhook(self) -> None:
        data = {**self.cleaned_data}
        url, secret, chosen = data["webhook_url"], data["webhook_secret"], data["webhook_format"]
        if data.get("webhook_removed"):
            return
        if self._had_webhook and not (url and secret):
            try:
                self.kept = self.row.opened_webhook  # type: ignore[union-attr]
            except SecretsUnavailable as error:
                self.add_error("webhook_url", str(error))
                return
        if self.kept is not None and url and not secret and urlsplit(url).hostname != self.kept.host:
            self.kept = None  # the secret is for the host for which somebody has entered it
        if url or self.kept is not None:
            self.kept = replace(
                self.kept or Webhook(""),
                format=chosen,
                private_addresses=False,
                **{key: value for key, value in (("url", url), ("secret", secret)) if value},
            )
            if chosen == "json" and not self.kept.secret:
                self.add_error("webhook_secret", _("JSON needs a secret, which signs the messages."))
        elif secret:
            self.add_error("webhook_url", _("A secret needs an address."))

    def _given(self) -> dict[str, Any]:
        data = self.cleaned_data
        found = {
            name: data[name]
            for name in ("on", "jobs", "groups", "queues", "mail", "users", "deciders", "times", "digest")
        }
        found.update((name, (data[name] or 0) * MINUTE) for name in ("quiet", "older_than", "remind"))
        return {name: value for name, value in found.items() if value}

    def _as_setting(self) -> dict[str, Any]:
        found = {**self._given(), "name": self.cleaned_data["name"]}
        return {**found, "webhook": vars(self.kept)} if self.kept is not None else found

    def save(self, by: Any) -> MessageRule:
        """Store the rule, with its webhook encrypted, and return it.

        :raises qorworker.exceptions.SecretsUnavailable: if the extra ``secrets`` is not installed.
        """
        row = self.row or MessageRule()
        now = database_now(MessageRule.objects.db)
        if row.pk is None or (self.cleaned_data["enabled"] and not row.enabled):
            row.since = now
        row.name, row.enabled, row.given = self.cleaned_data["name"], self.cleaned_data["enabled"], self._given()
        row.keep_webhook(self.kept, self.kept.host if self.kept is not None else "")
        row.changed_at, row.changed_by = now, by
        row.save()
        return row


def _initial(row: MessageRule) -> dict[str, Any]:
    given = row.given
    lines = {name: "\n".join(given.get(name, ())) for name in ("mail", "users")}
    minutes = {name: given[name] // MINUTE for name in ("quiet", "older_than", "remind") if name in given}
    return {**given, **lines, **minutes, "name": row.name, "enabled": row.enabled, "webhook_format": row.format}


def _groups() -> dict[str, str]:
    """Return what the groups are called, by their names in the code."""
    labels = [str(job_type.group) for job_type in registry.all()]
    with translation.override(None):
        names = [str(job_type.group) for job_type in registry.all()]
    return {name: label for name, label in zip(names, labels, strict=True) if name}


def _known_users(names: Collection[str]) -> set[str]:
    users: Any = get_user_model()
    found = users._default_manager.filter(**{f"{users.USERNAME_FIELD}__in": names})
    return {user.get_username() for user in found} if names else set()


def _is_private(host: str) -> bool:
    try:
        return not is_public(str(ip_address(host)))
    except ValueError:
        return host == "localhost"
