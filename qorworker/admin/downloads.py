"""The log as text and the results as CSV, streamed. The same right as on the page. Web."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed, StreamingHttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from qorworker import permissions
from qorworker.admin import access
from qorworker.models import Job, LogLine, pages
from qorworker.templatetags.qorworker_admin import qw_level

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # also in full width


def log(model_admin: Any, request: HttpRequest, pk: int) -> HttpResponseBase:
    return _download(model_admin, request, pk, "text/plain", "job-{}-log.txt", _log_text)


def results(model_admin: Any, request: HttpRequest, pk: int) -> HttpResponseBase:
    return _download(model_admin, request, pk, "text/csv", "job-{}-results.csv", _results_csv)


def _download(model_admin: Any, request: HttpRequest, pk: int, kind: str, name: str, lines: Any) -> HttpResponseBase:
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    job = access.visible_job(request, pk)
    if job is None:
        return access.not_found(request)
    if not permissions.can(request.user, "view_log", job=job):
        return access.deny(model_admin, request, "view_log", job=job)
    response = StreamingHttpResponse(lines(job), content_type=f"{kind}; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name.format(job.pk)}"'
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _log_text(job: Job) -> Iterator[str]:
    for line in pages.whole_log(job):
        yield f"{_stamp(line)} {qw_level(line.level).upper():<8} {line.text}\n"
    if job.log_dropped:
        told = _("Log limit reached: %s further lines were dropped.") % job.log_dropped
        yield f"({told})\n"


def _stamp(line: LogLine) -> str:
    at = timezone.localtime(line.at) if timezone.is_aware(line.at) else line.at
    return at.isoformat(sep=" ", timespec="milliseconds")


class _Line:
    """What the csv module writes to: hands the line on."""

    def write(self, line: str) -> str:
        return line


def _results_csv(job: Job) -> Iterator[str]:
    """One line for each row: its number, its cells, and what is wrong with them."""
    writer = csv.writer(_Line())
    yield "\ufeff"  # so that Excel reads UTF-8
    for row in pages.results(job).iterator(chunk_size=2_000):
        errors = "; ".join(str(cell["error"]) for cell in row.cells if cell.get("error"))
        values = [safe_cell(cell.get("value")) for cell in row.cells]
        yield writer.writerow([row.place, *values, *([safe_cell(errors)] if errors else [])])


def safe_cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula. Numbers stay numbers, also negative ones."""
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value)
    if isinstance(value, (int, float)):
        return value
    text = str(value)
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
