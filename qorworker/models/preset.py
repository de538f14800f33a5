"""Arguments that somebody saved under a name, to start a run form from. Web."""

from __future__ import annotations

from typing import Any

from django.conf import settings as django_settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from qorworker.models.fields import ArgumentsField


class PresetQuerySet(models.QuerySet["Preset"]):
    def for_type(self, name: str) -> PresetQuerySet:
        """Those of one job type, by name."""
        return self.filter(job_name=name).order_by("name", "id")

    def of_user(self, user: Any) -> PresetQuerySet:
        return self.filter(owner=user)

    def named(self, name: str) -> PresetQuerySet:
        """By name, as people take it: capitals do not matter."""
        return self.filter(name__iexact=name)

    def usable_by(self, user: Any) -> PresetQuerySet:
        """The user's own, and those that others share; whether the user may run the type is not asked here."""
        return self.filter(Q(owner=user) | Q(is_shared=True)).select_related("owner")


class Preset(models.Model):
    """Stored arguments of a job type without secrets and files, which are named in ``left_out``."""

    job_name = models.CharField(_("job type"), max_length=200)
    name = models.CharField(_("name"), max_length=100)
    owner = models.ForeignKey(
        django_settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", db_constraint=False,
        verbose_name=_("owner"),
    )  # fmt: skip
    is_shared = models.BooleanField(_("shared"), default=False)
    arguments = ArgumentsField(_("arguments"), default=dict, encoder=DjangoJSONEncoder)
    left_out = models.JSONField(default=list)  # names of fields that were there, but have no value in the arguments
    saved_at = models.DateTimeField(_("saved at"), auto_now=True)

    objects = PresetQuerySet.as_manager()

    class Meta:
        verbose_name = _("saved arguments")
        verbose_name_plural = _("saved arguments")
        default_permissions = ()
        permissions = (("share_preset", "Can share saved arguments"),)
        constraints = (models.UniqueConstraint(fields=("job_name", "owner", "name"), name="qorworker_preset_name"),)

    def __str__(self) -> str:
        return self.name

    def belongs_to(self, user: Any) -> bool:
        return self.owner_id is not None and self.owner_id == user.pk
