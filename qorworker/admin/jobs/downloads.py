"""The downloads of a job's page: log, results, uploaded arguments. The rights are those of the page. Web."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponseBase,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.utils import formats, timezone
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker import permissions
from qorworker.admin import access, links
from qorworker.admin.display import qw_level
from qorworker.admin.jobs import as_json
from qorworker.admin.jobs import files as added_files
from qorworker.arguments import codec, files
from qorworker.models import Job, LogLine
from qorworker.queries import job_details
from qorworker.text.cleaning import visible

logger = logging.getLogger("qorworker.access")

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # also in full width
# Places where a spreadsheet may begin another cell inside of one cell: many read “;” as the separator. A place without
# a formula matches, too: else a long run of line breaks would be read again from each of them.
INNER = re.compile(r"([;|\t\r\n\uff1b][\s\"';|\uff1b]*)([=+\-@\uff1d\uff0b\uff0d\uff20][^;|\t\r\n\uff1b]*)?")
SHEET_CELLS = 250_000  # in one XLSX file: it is made within the request, at about 35 µs a cell
KINDS = {"csv": "text/csv", "json": "application/json", "txt": "text/plain"}  # of content, by the end of a name
Answer = Callable[[HttpRequest, Job], HttpResponseBase]


def log(model_admin: Any, request: HttpRequest, pk: int) -> HttpResponseBase:
    """Send the log, at ``job/<id>/log.txt``."""
    return _answer(model_admin, request, pk, "view_log", lambda request, job: _stream(job, "log.txt", _log_text(job)))


def results(model_admin: Any, request: HttpRequest, pk: int) -> HttpResponseBase:
    """Send the results as CSV, at ``job/<id>/results.csv``."""

    def answer(request: HttpRequest, job: Job) -> HttpResponseBase:
        return _stream(job, "results.csv", _results_csv(job, job.results_titles, _("Row"), _("Errors")))

    return _answer(model_admin, request, pk, "view_log", answer)


def results_json(model_admin: Any, request: HttpRequest, pk: int) -> HttpResponseBase:
    """Send the results as JSON, at ``job/<id>/results.json``."""

    def answer(request: HttpRequest, job: Job) -> HttpResponseBase:
        link = partial(added_files.address, request, job)
        return _stream(job, "results.json", _results_json(job, job.results_titles, link))

    return _answer(model_admin, request, pk, "view_log", answer)


def spreadsheet(model_admin: Any, request: HttpRequest, pk: int) -> HttpResponseBase:
    """Send the results as an XLSX file, at ``job/<id>/results.xlsx``."""
    return _answer(model_admin, request, pk, "view_log", _spreadsheet)


def file(model_admin: Any, request: HttpRequest, name: str, pk: int) -> HttpResponseBase:
    """Send the upload that is the argument *name*."""
    return _answer(model_admin, request, pk, "view_arguments", lambda request, job: _file(request, job, name))


def added(model_admin: Any, request: HttpRequest, token: str, pk: int) -> HttpResponseBase:
    """Send the file that the job has added and whose address ends with *token*."""
    return _answer(model_admin, request, pk, "view_log", lambda request, job: _added(request, job, token))


def has_xlsx() -> bool:
    """Return whether openpyxl, which writes XLSX files, is installed."""
    return find_spec("openpyxl") is not None


def _answer(model_admin: Any, request: HttpRequest, pk: int, action: str, answer: Answer) -> HttpResponseBase:
    job = access.visible_job(request, pk)
    if job is None:
        return access.not_found(request)
    if not permissions.can(request.user, action, job=job):
        return access.deny(model_admin, request, action, job=job)
    logger.info("%r downloads %s.", request.user.get_username(), visible(request.path))
    response = answer(request, job)
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _file_name(job: Job, end: str) -> str:
    """Return a name such as "import-products-813-results.csv"."""
    return f"{slugify(job.title) or 'job'}-{job.pk}-{end}"


def _stream(job: Job, end: str, lines: Iterator[str]) -> HttpResponseBase:
    kind = KINDS[end.rpartition(".")[2]]
    response = StreamingHttpResponse(lines, content_type=f"{kind}; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{_file_name(job, end)}"'
    return response


def _refuse(request: HttpRequest, job: Job, why: str) -> HttpResponseBase:
    messages.warning(request, why)
    return HttpResponseRedirect(links.url(request, "qorworker_job_change", job.pk))


# The log


def _log_text(job: Job) -> Iterator[str]:
    for line in job_details.whole_log(job):
        yield f"{_stamp(line)} {qw_level(line.level).upper():<8} {visible(line.text)}\n"
    if job.log_dropped:
        sentence = ngettext(
            "Log limit reached: %(counter)s further line was dropped.",
            "Log limit reached: %(counter)s further lines were dropped.",
            job.log_dropped,
        )
        yield f"({sentence % {'counter': job.log_dropped}})\n"


def _stamp(line: LogLine) -> str:
    at = timezone.localtime(line.at) if timezone.is_aware(line.at) else line.at
    return at.isoformat(sep=" ", timespec="milliseconds")


# The results


class _Line:
    """A file for the csv module whose ``write`` returns the line."""

    def write(self, line: str) -> str:
        return line


def _results_csv(job: Job, titles: list[str], *around: str) -> Iterator[str]:
    """Return one line for each row: its number, its cells, and what is wrong with them.

    If columns have titles, they are the first line, and the errors of all rows are in one column. *around* is what
    stands above the numbers and above the errors then; a response is sent when its language may be another.
    """
    writer = csv.writer(_Line())
    yield "\ufeff"  # so that Excel reads UTF-8
    if titles:
        yield writer.writerow(map(safe_cell, (around[0], *titles, around[1])))
    for row in job_details.results(job).iterator(chunk_size=2_000):
        errors = job_details.errors_of(row.cells)
        values = [safe_cell(cell.get("value")) for cell in row.cells]
        values += [""] * (len(titles) - len(values))
        yield writer.writerow([row.place, *values, *([safe_cell(errors)] if errors or titles else [])])


def _results_json(job: Job, titles: list[str], link: Callable[[str], str]) -> Iterator[str]:
    """Return an object with the titles of the columns and a list of rows, one in each line."""
    yield f'{{"columns": {as_json.line(titles)}, "rows": ['
    separator = "\n"
    for row in job_details.results(job).iterator(chunk_size=2_000):
        cells = [{**cell, "file": link(cell["file"])} if cell.get("file") else cell for cell in row.cells]
        yield separator + as_json.line({"row": row.place, "key": row.key, "cells": cells})
        separator = ",\n"
    yield "\n]}\n"


def safe_cell(value: Any) -> Any:
    """Return *value* as a cell of which no spreadsheet takes any part for a formula, whatever it splits lines at.

    Numbers stay numbers, also negative ones.
    """
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value)
    if isinstance(value, (int, float)):
        return value
    text = INNER.sub(_safe_part, str(value))
    return f"'{text}" if text.lstrip(' "').startswith(FORMULA) and not _is_number(text) else text


def _safe_part(match: re.Match[str]) -> str:
    return match[0] if match[2] is None or _is_number(match[2]) else f"{match[1]}'{match[2]}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _spreadsheet(request: HttpRequest, job: Job) -> HttpResponseBase:
    if not has_xlsx():
        return _refuse(request, job, _("XLSX files need one more package: pip install “qorworker[xlsx]”."))
    cells = job.results_count * (job_details.columns_of(job) + 2)  # and the columns of numbers and errors
    if cells > SHEET_CELLS:
        numbers = {"cells": cells, "most": SHEET_CELLS}
        shown = {name: formats.number_format(number, force_grouping=True) for name, number in numbers.items()}
        text = _("An XLSX file has at most %(most)s cells here, and these results have about %(cells)s. Download CSV.")
        return _refuse(request, job, text % shown)
    from qorworker.admin.jobs.spreadsheet import write  # noqa: PLC0415 - openpyxl is optional

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
    return _attachment(upload.file, str(stored.get("name", "")))


def _added(request: HttpRequest, job: Job, token: str) -> HttpResponseBase:
    added = job_details.added_file(job, token) if job.files_count else None
    if added is None:
        return access.not_found(request)
    try:
        return _attachment(files.fetch(added.kept).file, added.name)
    except ValidationError:
        text = _("The file “%s” is gone, was changed, or its storage does not return it now.")
        return _refuse(request, job, text % visible(added.name))


def _attachment(content: Any, name: str) -> HttpResponseBase:
    """Return a file that no browser opens by itself, whatever it is."""
    kind = "application/octet-stream"
    return FileResponse(content, as_attachment=True, filename=files.display_name(name), content_type=kind)
