"""Arguments that a user saved under a name, to start a run form with. Web."""

from __future__ import annotations

from typing import Any

from django.conf import settings as django_settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from qorworker.models.fields import ArgumentsField
from qorworker.models.own import OwnQuerySet
from qorworker.text.cleaning import visible


class PresetQuerySet(OwnQuerySet["Preset"]):
    def for_type(self, name: str) -> PresetQuerySet:
        """Return those of one job type, by name."""
        return self.filter(job_name=name).order_by("name", "id")

    def of_user(self, user: Any) -> PresetQuerySet:
        return self.filter(owner=user)

    def named(self, name: str) -> PresetQuerySet:
        """Return those with this name, as users understand names: capital letters make no difference."""
        return self.filter(name__iexact=name)

    def usable_by(self, user: Any) -> PresetQuerySet:
        """Return a user's own and those that others share. Whether the user may run the type is not checked here."""
        return self.filter(Q(owner=user) | Q(is_shared=True)).select_related("owner")


class Preset(models.Model):
    """Stored arguments of a job type, without secrets and files, which ``left_out`` names."""

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
        return visible(self.name)

    def belongs_to(self, user: Any) -> bool:
        return self.owner_id is not None and self.owner_id == user.pk
