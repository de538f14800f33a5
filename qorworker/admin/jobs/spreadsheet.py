"""The results as an XLSX file, written row by row to a temporary file. Needs the extra ``xlsx``. Web."""

from __future__ import annotations

import tempfile
from typing import IO, Any

from django.utils.translation import gettext as _
from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.comments import Comment
from openpyxl.styles import Font, PatternFill

from qorworker.models import Job
from qorworker.queries import job_details
from qorworker.text.cleaning import visible_lines

CELL_CHARS = 32_767  # what a cell of Excel holds
COMMENTS = 10_000  # they are kept in memory until the end; the text is in the column of errors anyway
EXACT = 10**15  # whole numbers from here on lose digits in a spreadsheet, so they are written as text
BAD, BOLD = PatternFill("solid", fgColor="FFFDEAEA"), Font(bold=True)


def write(job: Job) -> IO[bytes]:
    """Return the file, open at its beginning: each row has its number, what is wrong with it, then its cells."""
    book = Workbook(write_only=True)
    sheet: Any = book.create_sheet(_("Results"))
    sheet.freeze_panes = "A2"
    titles = job.results_titles or map(str, range(1, job_details.columns_of(job) + 1))
    sheet.append([_heading(sheet, text) for text in (_("Row"), _("Errors"), *titles)])
    comments = 0
    for row in job_details.results(job).iterator(chunk_size=2_000):
        cells = [_cell(sheet, stored, comments < COMMENTS) for stored in row.cells]
        comments += sum(cell.comment is not None for cell in cells)
        sheet.append([row.place, _text(sheet, job_details.errors_of(row.cells)), *cells])
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the response closes it
    book.save(file)
    file.seek(0)
    return file


def _heading(sheet: Any, text: str) -> Any:
    cell = _text(sheet, text)
    cell.font = BOLD
    return cell


def _cell(sheet: Any, stored: dict[str, Any], takes_comment: bool) -> Any:
    value = stored.get("value")
    is_plain = value is None or isinstance(value, bool) or (isinstance(value, (int, float)) and abs(value) < EXACT)
    cell = WriteOnlyCell(sheet, value) if is_plain else _text(sheet, str(value))
    if error := stored.get("error"):
        cell.fill = BAD
        if takes_comment:
            cell.comment = Comment(_printable(str(error)), "qorworker")
    return cell


def _text(sheet: Any, text: str) -> Any:
    """Return a cell that stays text, whatever it begins with."""
    cell = WriteOnlyCell(sheet, _printable(text))
    cell.data_type = "s"  # else "=1+1" would be a formula
    cell.quotePrefix = text.startswith(("=", "+", "-", "@"))  # and it stays text when it is edited
    return cell


def _printable(text: str) -> str:
    shown = visible_lines(text)
    return shown if len(shown) <= CELL_CHARS else shown[: CELL_CHARS - 1] + "…"
