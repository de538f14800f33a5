"""What can be taken away from a job's page: log, results, uploaded arguments. The same rights as on the page. Web."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.urls import reverse
from django.utils import formats, timezone
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker import permissions
from qorworker.admin import access
from qorworker.arguments import codec, files
from qorworker.models import Job, LogLine, job_page
from qorworker.templatetags.qorworker_admin import qw_level

logger = logging.getLogger("qorworker.access")

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # also in full width
SHEET_ROWS = 1_048_575  # what one XLSX sheet holds below its headings
Answer = Callable[[HttpRequest, Job], HttpResponseBase]


def log(model_admin: Any, request: HttpRequest, pk: int) -> HttpResponseBase:
    return _answer(model_admin, request, pk, "view_log", lambda request, job: _stream(job, "log.txt", _log_text(job)))


def results(model_admin: Any, request: HttpRequest, pk: int) -> HttpResponseBase:
    return _answer(
        model_admin, request, pk, "view_log", lambda request, job: _stream(job, "results.csv", _results_csv(job))
    )


def spreadsheet(model_admin: Any, request: HttpRequest, pk: int) -> HttpResponseBase:
    return _answer(model_admin, request, pk, "view_log", _spreadsheet)


def file(model_admin: Any, request: HttpRequest, name: str, pk: int) -> HttpResponseBase:
    """The upload that is the argument *name*."""
    return _answer(model_admin, request, pk, "view_arguments", lambda request, job: _file(request, job, name))


def has_xlsx() -> bool:
    return find_spec("openpyxl") is not None


def _answer(model_admin: Any, request: HttpRequest, pk: int, action: str, answer: Answer) -> HttpResponseBase:
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    job = access.visible_job(request, pk)
    if job is None:
        return access.not_found(request)
    if not permissions.can(request.user, action, job=job):
        return access.deny(model_admin, request, action, job=job)
    logger.info("%r downloads %s.", request.user.get_username(), request.path)
    response = answer(request, job)
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _file_name(job: Job, end: str) -> str:
    """import-products-813-results.csv"""
    return f"{slugify(job.title) or 'job'}-{job.pk}-{end}"


def _stream(job: Job, end: str, lines: Iterator[str]) -> HttpResponseBase:
    kind = "text/csv" if end.endswith("csv") else "text/plain"
    response = StreamingHttpResponse(lines, content_type=f"{kind}; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{_file_name(job, end)}"'
    return response


def _refuse(request: HttpRequest, job: Job, why: str) -> HttpResponseBase:
    messages.warning(request, why)
    return HttpResponseRedirect(reverse("admin:qorworker_job_change", args=(job.pk,)))


# The log


def _log_text(job: Job) -> Iterator[str]:
    for line in job_page.whole_log(job):
        yield f"{_stamp(line)} {qw_level(line.level).upper():<8} {line.text}\n"
    if job.log_dropped:
        told = ngettext(
            "Log limit reached: %(counter)s further line was dropped.",
            "Log limit reached: %(counter)s further lines were dropped.",
            job.log_dropped,
        )
        yield f"({told % {'counter': job.log_dropped}})\n"


def _stamp(line: LogLine) -> str:
    at = timezone.localtime(line.at) if timezone.is_aware(line.at) else line.at
    return at.isoformat(sep=" ", timespec="milliseconds")


# The results


class _Line:
    """What the csv module writes to: hands the line on."""

    def write(self, line: str) -> str:
        return line


def _results_csv(job: Job) -> Iterator[str]:
    """One line for each row: its number, its cells, and what is wrong with them."""
    writer = csv.writer(_Line())
    yield "\ufeff"  # so that Excel reads UTF-8
    for row in job_page.results(job).iterator(chunk_size=2_000):
        errors = errors_of(row.cells)
        values = [safe_cell(cell.get("value")) for cell in row.cells]
        yield writer.writerow([row.place, *values, *([safe_cell(errors)] if errors else [])])


def errors_of(cells: list[dict[str, Any]]) -> str:
    return "; ".join(str(cell["error"]) for cell in cells if cell.get("error"))


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


def _spreadsheet(request: HttpRequest, job: Job) -> HttpResponseBase:
    if not has_xlsx():
        return _refuse(request, job, _("XLSX files need one more package: pip install “qorworker[xlsx]”."))
    if job.results_count > SHEET_ROWS:
        rows = formats.number_format(job.results_count, use_l10n=True, force_grouping=True)
        return _refuse(request, job, _("%(rows)s rows do not fit one XLSX sheet; use CSV.") % {"rows": rows})
    from qorworker.admin.spreadsheet import write

    return FileResponse(write(job), as_attachment=True, filename=_file_name(job, "results.xlsx"))


# Uploads


def _file(request: HttpRequest, job: Job, name: str) -> HttpResponseBase:
    stored = job.arguments.get(name)
    field = job.job_type.arguments.definition.fields.get(name) if job.job_type is not None else None
    # What people typed into another kind of argument may look like an upload: it must never name a file.
    if not isinstance(field, forms.FileField) or not (isinstance(stored, dict) and codec.FILE in stored):
        return access.not_found(request)
    try:
        upload = files.fetch(stored)
    except ValidationError as error:
        return _refuse(request, job, " ".join(error.messages))
    return FileResponse(
        upload.file, as_attachment=True, filename=stored["name"], content_type="application/octet-stream"
    )
