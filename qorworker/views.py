"""The view that callbacks call: without a login, and without a word about jobs. Web."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_variables

from qorworker.admin import access
from qorworker.arguments.plain import parse_json
from qorworker.conf import settings
from qorworker.exceptions import InvalidTransition
from qorworker.models import Origin, Question, callbacks
from qorworker.models.audit import caller_address

__all__ = ["callback"]

logger = logging.getLogger(__name__)


class Refused(Exception):
    """A call that is not taken, with the status of the answer and a sentence."""

    def __init__(self, status: int, text: str) -> None:
        self.status, self.text = status, text


@csrf_exempt
@never_cache
@sensitive_variables()
def callback(request: HttpRequest, token: str) -> HttpResponse:
    """Take the JSON in the body of the request as the answer to a callback, once.

    A forged address and one whose job is gone get the same answer, 404, whatever was sent. Only who has an address
    learns more: 410 if it was called before or its time is over, 413 and 400 for a body that is too large or no JSON.
    Nothing is stored then, and it can be called again. So no log gets the address.
    """
    question = None
    try:
        if request.method != "POST":
            raise Refused(405, "This address takes POST.")
        if (question := callbacks.find(token)) is None:
            raise Refused(404, "There is no such address.")
        _take(question, _payload(request), access.address(request))
    except Refused as refused:
        return _refusal(refused, question)
    return HttpResponse(status=204)


def _refusal(refused: Refused, question: Question | None) -> HttpResponse:
    """Return the answer to a call that is not taken, and log it without the address, which may still be good."""
    about = f"job {question.job_id}" if question is not None else "no job"
    logger.warning("A call from outside for %s was refused with %d: %s", about, refused.status, refused.text)
    response = JsonResponse({"error": refused.text}, status=refused.status)
    if refused.status == HTTPStatus.METHOD_NOT_ALLOWED:
        response["Allow"] = "POST"
    response._has_been_logged = True  # type: ignore[attr-defined]  # Django's own line has the path
    return response


def _payload(request: HttpRequest) -> Any:
    limit = int(settings.ARGUMENTS_BYTES)
    too_large = Refused(413, f"The body may have {limit} bytes.")
    try:
        declared = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        raise too_large from None
    if not 0 <= declared <= limit or len(body := request.read(limit + 1)) > limit:
        raise too_large
    try:
        return parse_json(body.decode())
    except UnicodeDecodeError:
        raise Refused(400, "The body must be JSON in UTF-8.") from None
    except ValidationError as error:
        raise Refused(400, f"The body must be JSON. {' '.join(error.messages)}") from None


def _take(question: Question, payload: Any, address: str | None) -> None:
    over = Refused(410, "This address was called before, or its time is over.")
    if not question.is_open:
        raise over
    before = caller_address.set(address)
    try:
        question.job.answer(payload, question=question, origin=Origin.CALLBACK)
    except InvalidTransition:
        raise over from None
    finally:
        caller_address.reset(before)
