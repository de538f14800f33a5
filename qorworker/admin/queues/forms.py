"""The form with which a queue or a job type is paused. Web."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from qorworker import permissions
from qorworker.admin.schedules.forms import PauseForm
from qorworker.conf import settings
from qorworker.definitions.registry import registry
from qorworker.models import PauseKind


class HoldForm(PauseForm):
    """The choice of a queue or job type to pause, with a reason and an end."""

    what = forms.ChoiceField(label=gettext_lazy("What"))

    def __init__(self, user: Any, data: Any = None, chosen: str = "") -> None:
        super().__init__(data, zone=timezone.get_current_timezone_name())
        self.fields["what"].choices = choices_for(user)  # type: ignore[attr-defined]
        self.fields["what"].initial = chosen
        self.order_fields(["what", "reason", "until"])


def choices_for(user: Any) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return what *user* may pause, in groups: each choice as its kind and name, and its label."""
    queues = [(f"{PauseKind.QUEUE}:{name}", name) for name in settings.QUEUES]
    types = [
        (f"{PauseKind.JOB_TYPE}:{job_type.name}", str(job_type.title))
        for job_type in registry.all()
        if permissions.can(user, "pause", job_type)
    ]
    choices = []
    if permissions.can(user, "pause_queue"):
        choices.append((_("Queues"), queues))
    return [*choices, (_("Job types"), types)] if types else choices
