"""The addresses of callbacks: signed, so that nobody can guess one, and without a word of the job. All processes."""

from __future__ import annotations

import re

from django.core.exceptions import ImproperlyConfigured
from django.core.signing import BadSignature, Signer
from django.urls import NoReverseMatch, reverse

from qorworker.conf import settings
from qorworker.models.question import Question, QuestionKind

SALT = "qorworker.callback"
VALUE = re.compile(r"([0-9]{1,18})_([0-9a-f]{32})")


def address_of(question: Question) -> str:
    """Return the address of a callback: a whole one with the setting ``BASE_URL``, else the path.

    :raises django.core.exceptions.ImproperlyConfigured: if the project does not include ``qorworker.urls``.
    """
    token = _signer().sign(f"{question.pk}_{question.nonce}")
    try:
        path = reverse("qorworker:callback", args=[token])
    except NoReverseMatch:
        raise ImproperlyConfigured(
            'context.callback() needs an address: add path("qorworker/", include("qorworker.urls")) to the urlpatterns'
            " of the project."
        ) from None
    return str(settings.BASE_URL).rstrip("/") + path


def find(token: str) -> Question | None:
    """Return the callback to which a token belongs; None if it is forged, or its job has been deleted."""
    try:
        value = VALUE.fullmatch(_signer().unsign(token))
    except BadSignature:
        return None
    if value is None:
        return None
    rows = Question.objects.filter(pk=int(value[1]), kind=QuestionKind.CALLBACK, nonce=value[2])
    return rows.select_related("job").first()


def _signer() -> Signer:
    return Signer(sep=".", salt=SALT)
