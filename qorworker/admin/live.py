"""The news that an open page receives: one form of answer for all pages, carried out by ``live.js``. Web.

A page asks at the address in its ``data-qw-live``, with the parameters that the last answer gave it as its ``state``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseNotModified


@dataclass(frozen=True, kw_only=True)
class News:
    """The changes since the last answer. HTML is escaped; elements have their ids without the prefix ``qw-``."""

    parts: Mapping[str, str]  # HTML that takes the place of what is in these elements
    append: Mapping[str, str] = field(default_factory=dict)  # HTML that follows what is in them
    gone: Sequence[str] = ()  # elements whose row has been deleted
    state: Mapping[str, Any] = field(default_factory=dict)  # parameters of the next question
    final: bool = False  # whether there is nothing more to ask


def answer(news: News, version: str = "") -> HttpResponse:
    """Return *news* as JSON, with *version* as its ETag so that the browser need not receive it again."""
    headers = {"ETag": version} if version else {}
    return HttpResponse(json.dumps(asdict(news)), content_type="application/json", headers=headers)


def unchanged(request: HttpRequest, version: str) -> HttpResponse | None:
    """Return an answer without a body if the browser has that *version*; else None."""
    is_current = request.headers.get("If-None-Match") == version
    return HttpResponseNotModified(headers={"ETag": version}) if is_current else None


def version_of(news: News) -> str:
    """Return a version for news without parts that differ from one question to the next, such as one-time tokens."""
    return f'"{hashlib.sha256(json.dumps(asdict(news)).encode()).hexdigest()[:32]}"'
