"""The results on a job's page and as files: sorted, searched, paged, and never a formula."""

from __future__ import annotations

import json
import re
import sys
from io import BytesIO

import pytest
from openpyxl import load_workbook

from qorworker.admin.jobs import downloads, results, spreadsheet
from qorworker.models import Job, ResultsRow
from tests.admin.support import make_job, messages_of, page_of, text_of, user_with

pytestmark = [pytest.mark.django_db, pytest.mark.once]


def with_results(job_type, rows, before=0, **fields):
    """A finished job with these rows; a cell is a value, or a value and an error."""
    cells = [
        [{"value": c[0], "error": c[1]} if isinstance(c, tuple) else {"value": c, "error": ""} for c in row]
        for row in rows
    ]
    bad = [any(cell["error"] for cell in row) for row in cells]
    job = make_job(
        job_type,
        "exception" if any(bad) else "done",
        results_rows=before + len(rows),
        results_before=before,
        results_errors=sum(bad),
        **fields,
    )
    ResultsRow.objects.bulk_create(
        ResultsRow(job=job, number=before + place, attempt=1, cells=row, has_error=has_error)
        for place, (row, has_error) in enumerate(zip(cells, bad, strict=True), 1)
    )
    return job


def table(response):
    """The text of each row, without its number; errors behind a slash."""
    page = text_of(response)
    if 'id="qw-rows"' not in page:
        return []
    body = page.split('id="qw-rows"')[1].split("<tbody>")[1].split("</tbody>")[0]
    body = re.sub(r'<span class="visually-hidden">.*?</span>', "/", body)
    rows = re.findall(r"<tr.*?>(.*?)</tr>", body, re.S)
    return [[re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<td.*?>(.*?)</td>", row, re.S)] for row in rows]


def column(client, job, query, place=0):
    return [row[place] for row in table(client.get(page_of(job) + query))]


# Order

MIXED = [
    ["b", 10],
    ["a", 9],
    ["C", "100"],
    ["", None],
    ["d", "9.5"],
    ["e", "x"],
    ["f", True],
    ["g", -3],
    ["h", ("", "bad")],
]


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("?sort=2", ["-3", "9", "9.5", "10", "100"]),
        ("?sort=-2", ["100", "10", "9.5", "9", "-3"]),
    ],
)
def test_a_column_is_sorted_as_numbers_before_text(types, visitor, query, shown):
    job = with_results(types["open"], MIXED)
    assert column(visitor, job, query, 1)[:5] == shown
    assert len(column(visitor, job, query, 1)) == len(MIXED)


def test_a_column_of_text_is_sorted_as_text(types, visitor):
    job = with_results(types["open"], [["b"], ["a"], ["c"]])
    assert column(visitor, job, "?sort=1") == ["a", "b", "c"]
    assert column(visitor, job, "?sort=-1") == ["c", "b", "a"]


@pytest.mark.parametrize("query", ["?sort=9", "?sort=0", "?sort=x", "?sort=-", "?sort=99999"])
def test_an_order_that_makes_no_sense_leaves_the_rows_as_they_came(types, visitor, query):
    job = with_results(types["open"], [["b"], ["a"]])
    assert column(visitor, job, query) == ["b", "a"]


def test_each_heading_sorts_and_then_turns_the_order_round(types, visitor):
    job = with_results(types["open"], [["b", 1], ["a", 2]])
    page = text_of(visitor.get(page_of(job)))
    assert re.findall(r'<th scope="col"><a href="([^"]+)"', page) == ["?sort=1#results", "?sort=2#results"]
    page = text_of(visitor.get(page_of(job) + "?sort=1"))
    assert re.search(r'<th scope="col" aria-sort="ascending"><a href="\?sort=-1#results"', page)
    page = text_of(visitor.get(page_of(job) + "?sort=-1"))
    assert re.search(r'<th scope="col" aria-sort="descending"><a href="\?sort=1#results"', page)


# Choice

PEOPLE = [["Äbc", 1], ["value", 2], ["100%", ("x", "too LARGE")], ['say "hi"', 4], ["back\\slash", 5]]


@pytest.mark.parametrize(
    ("find", "shown"),
    [
        ("val", ["value"]),  # and not the names under which cells are stored
        ("error", []),
        ("too large", ["100%"]),
        ("0%25", ["100%"]),
        ('"hi"', ["say &quot;hi&quot;"]),
        ("k\\s", ["back\\slash"]),
        ("bc", ["Äbc"]),
        ("4", ["say &quot;hi&quot;"]),
    ],
)
def test_rows_are_found_by_what_their_cells_and_errors_say(types, visitor, find, shown):
    job = with_results(types["open"], PEOPLE)
    assert column(visitor, job, f"?cell={find}") == shown


def test_only_rows_with_errors_can_be_shown_and_searched(types, visitor):
    job = with_results(types["open"], PEOPLE)
    assert column(visitor, job, "?rows=errors") == ["100%"]
    assert column(visitor, job, "?rows=errors&cell=abc") == []


def test_a_search_without_a_match_does_not_say_that_there_are_no_results(types, visitor):
    job = with_results(types["open"], PEOPLE)
    page = text_of(visitor.get(page_of(job) + "?cell=nowhere"))
    assert "No row contains “nowhere”." in page
    assert re.search(r'id="qw-results-title">Results <span class="qw-quiet">5', page)


@pytest.mark.parametrize(("per", "count"), [("", 50), ("200", 200), ("1000", 250), ("7", 50)])
def test_a_page_has_fifty_two_hundred_or_a_thousand_rows(types, visitor, per, count):
    job = with_results(types["open"], [[n] for n in range(250)])
    assert len(column(visitor, job, f"?per={per}")) == count


@pytest.mark.parametrize("titles", [None, '["a", "b", "c"]'])
@pytest.mark.parametrize(("per", "count"), [("", 50), ("200", 60), ("1000", 60)])
def test_a_page_of_very_wide_rows_has_fewer(types, visitor, monkeypatch, titles, per, count):
    monkeypatch.setattr(results, "CELLS", 180)
    job = with_results(types["open"], [[n, "", ""] for n in range(250)], results_columns=titles)
    assert len(column(visitor, job, f"?per={per}")) == count
    monkeypatch.setattr(results, "CELLS", 9)
    assert len(column(visitor, job, f"?per={per}")) == 50


def test_pages_keep_what_was_chosen(types, visitor):
    job = with_results(types["open"], [[n] for n in range(130)])
    page = text_of(visitor.get(page_of(job) + "?sort=-1&page=2&level=40"))
    assert table(visitor.get(page_of(job) + "?sort=-1&page=2"))[0] == ["79"]
    assert "51–100 of 130" in page
    links = re.findall(r'href="(\?[^"]*page=[^"]*)"', page)
    assert links == [f"?level=40&amp;sort=-1&amp;page={number}#results" for number in (1, 3)]


def test_a_second_attempt_shows_only_its_own_rows_counted_from_one(types, visitor):
    job = with_results(types["open"], [["new"]], before=3)
    ResultsRow.objects.create(job=job, number=1, attempt=1, cells=[{"value": "old", "error": ""}])
    assert table(visitor.get(page_of(job))) == [["new"]]
    assert '<th scope="row">1</th>' in text_of(visitor.get(page_of(job)))


@pytest.mark.parametrize(
    ("value", "html"),
    [
        (True, "Yes"),
        (None, ""),
        (0, "0"),
        ("https://example.com/a?b=1&c=2", '<a href="https://example.com/a?b=1&amp;c=2" rel="noopener noreferrer">'),
        ("see https://example.com", "see https://example.com"),
        ("javascript:alert(1)", "javascript:alert(1)"),
        ('http://x" onclick="y', "http://x&quot; onclick=&quot;y"),
        ("http://\u202ex", "http://\\u202ex"),
    ],
)
def test_a_cell_shows_its_value_and_only_addresses_of_the_web_are_links(types, visitor, value, html):
    page = text_of(visitor.get(page_of(with_results(types["open"], [[value]]))))
    row = page.split("<tbody>")[1].split("</tbody>")[0]
    assert f"<td>{html}" in row
    assert ("<a " in row) == ("<a " in html)


def test_very_many_rows_are_shown_but_neither_sorted_nor_searched(types, visitor, monkeypatch):
    job = with_results(types["open"], [["b"], ["a"], ["c"]])
    monkeypatch.setattr(results, "SORTED", 3)
    assert column(visitor, job, "?sort=1&cell=a") == ["a"]
    monkeypatch.setattr(results, "SORTED", 2)
    response = visitor.get(page_of(job) + "?sort=1&cell=a")
    assert [row[0] for row in table(response)] == ["b", "a", "c"]
    assert "too many rows to sort and search here" in text_of(response)
    assert 'name="cell"' not in text_of(response)


def test_very_many_cells_are_sorted_but_not_searched(types, visitor, monkeypatch):
    job = with_results(types["open"], [["b", 1], ["a", 2], ["c", 3]])
    monkeypatch.setattr(results, "FEW", 2)
    monkeypatch.setattr(results, "SEARCHED_CELLS", 6)
    assert column(visitor, job, "?sort=1&cell=a") == ["a"]
    monkeypatch.setattr(results, "SEARCHED_CELLS", 5)
    response = visitor.get(page_of(job) + "?sort=1&cell=a")
    assert [row[0] for row in table(response)] == ["a", "b", "c"]
    assert "too many cells to search here" in text_of(response)
    assert 'name="cell"' not in text_of(response)


@pytest.mark.parametrize(("limit", "is_told"), [(3, True), (4, False)])
def test_the_limit_of_results_is_told_when_it_is_reached(types, visitor, settings, limit, is_told):
    settings.QORWORKER = {**settings.QORWORKER, "RESULTS_ROWS": limit}
    page = text_of(visitor.get(page_of(with_results(types["open"], [["a"]] * 3))))
    assert ("Results limit reached: further rows were not kept." in page) is is_told


# Files


def sheet_of(response):
    return load_workbook(BytesIO(b"".join(response.streaming_content))).active


def test_a_spreadsheet_has_numbers_as_numbers_and_errors_beside_their_rows(types, visitor):
    job = with_results(types["open"], [["mug", 3, 2.5], ["cup", ("-1", "negative stock"), None]])
    response = visitor.get(page_of(job, "results.xlsx"))
    assert response["Content-Disposition"] == f'attachment; filename="open-door-{job.pk}-results.xlsx"'
    sheet = sheet_of(response)
    assert [[cell.value for cell in row] for row in sheet.iter_rows()] == [
        ["Row", "Errors", "1", "2", "3"],
        [1, None, "mug", 3, 2.5],
        [2, "negative stock", "cup", "-1", None],
    ]
    assert sheet["D3"].comment.text == "negative stock"
    assert sheet["D3"].fill.fgColor.rgb == "FFFDEAEA"
    assert sheet["D2"].comment is None
    assert sheet["D2"].fill.fill_type is None


@pytest.mark.parametrize("text", ["=1+1", "@cmd", "+1+cmd|' /C calc'!A0", "-2+3", '=HYPERLINK("http://x")'])
def test_no_cell_and_no_error_of_a_spreadsheet_is_a_formula(types, visitor, text):
    sheet = sheet_of(visitor.get(page_of(with_results(types["open"], [[text], [("x", text)]]), "results.xlsx")))
    for cell in (sheet["C2"], sheet["B3"]):
        assert (cell.data_type, cell.value, cell.quotePrefix) == ("s", text, True)


def test_what_a_spreadsheet_cannot_hold_is_written_so_that_it_can(types, visitor):
    rows = [["a\x0bb"], ["x" * 40_000], [10**20], [True], ["two\nlines"]]
    sheet = sheet_of(visitor.get(page_of(with_results(types["open"], rows), "results.xlsx")))
    found = [sheet[f"C{place}"].value for place in range(2, 7)]
    assert found == ["a\\u000bb", "x" * 32_766 + "…", str(10**20), True, "two\nlines"]


def test_comments_stop_at_a_limit_and_the_column_of_errors_does_not(types, visitor, monkeypatch):
    monkeypatch.setattr(spreadsheet, "COMMENTS", 1)
    sheet = sheet_of(visitor.get(page_of(with_results(types["open"], [[("a", "bad")]] * 3), "results.xlsx")))
    assert [sheet[f"C{place}"].comment is not None for place in (2, 3, 4)] == [True, False, False]
    assert [sheet[f"B{place}"].value for place in (2, 3, 4)] == ["bad"] * 3


def test_too_many_rows_for_a_sheet_are_refused_in_words(types, visitor):
    job = with_results(types["open"], [["a"]])
    most = downloads.SHEET_CELLS // 3  # a cell of each row, its number and its errors
    Job.objects.filter(pk=job.pk).update(results_rows=most)
    assert visitor.get(page_of(job, "results.xlsx")).status_code == 200
    Job.objects.filter(pk=job.pk).update(results_rows=most + 1)
    response = visitor.get(page_of(job, "results.xlsx"), follow=True)
    (told,) = messages_of(response)
    assert told.startswith("An XLSX file has at most 250,000 cells here")
    assert told.endswith("Download CSV.")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("foo;=1+1", "foo;'=1+1"), ("a|@SUM(A1)", "a|'@SUM(A1)"), ("a\t+1+1", "a\t'+1+1"), ("a\r\n-1-1", "a\r\n'-1-1"),
        ('a; "=1+1"', "a; \"'=1+1\""), ("a;\uff1d1+1", "a;'\uff1d1+1"), ("=1", "'=1"), ('"=1', "'\"=1"),
        ("a;;|\n=1", "a;;|\n'=1"), ("a\n\nb;=1", "a\n\nb;'=1"), ("a;", "a;"),
        ("a;-3;b", "a;-3;b"), ("-3", "-3"), ("a; b", "a; b"), ("Dear Ann, - yes", "Dear Ann, - yes"), (-3, -3),
    ],
)  # fmt: skip
def test_no_part_of_a_cell_is_a_formula_whatever_splits_it(value, shown):
    assert downloads.safe_cell(value) == shown


def test_a_run_of_separators_is_read_once():
    """Else one row of line breaks would take seconds, and a table of them hold the thread of the request for hours."""
    assert downloads.INNER.subn(downloads._safe_part, "a" + "\n;" * 1_000 + "b")[1] == 1


def test_without_the_extra_there_is_no_link_and_the_address_says_what_is_missing(types, visitor, monkeypatch):
    job = with_results(types["open"], [["a"]])
    assert "results.xlsx" in text_of(visitor.get(page_of(job)))
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    monkeypatch.setattr(downloads, "find_spec", lambda name: None)
    assert "results.xlsx" not in text_of(visitor.get(page_of(job)))
    response = visitor.get(page_of(job, "results.xlsx"), follow=True)
    assert messages_of(response) == ["XLSX files need one more package: pip install “qorworker[xlsx]”."]


TITLED = {"results_columns": '["SKU", ["Yes"], "<b>Price</b>"]'}


def test_titles_stand_above_the_columns_in_the_language_of_the_reader(types, visitor, settings):
    job = with_results(types["open"], [["TEA-01", 1]], **TITLED)
    settings.LANGUAGE_CODE = "de"
    page = text_of(visitor.get(page_of(job)))
    assert re.findall(r'<th scope="col"><a [^>]*>([^<]*)<', page) == ["SKU", "Ja", "&lt;b&gt;Price&lt;/b&gt;"]


def test_titles_stand_also_above_columns_that_cannot_be_sorted(types, visitor, monkeypatch):
    monkeypatch.setattr(results, "SORTED", 0)
    page = text_of(visitor.get(page_of(with_results(types["open"], [["TEA-01", 1]], **TITLED))))
    headings = page.split('id="qw-rows"')[1].split("</thead>")[0]
    assert re.findall(r'<th scope="col">([^<]*)<', headings) == ["Row", "SKU", "Yes", "&lt;b&gt;Price&lt;/b&gt;"]


@pytest.mark.parametrize("titles", [None, [f"Column {number}" for number in range(1, 52)]])
def test_columns_that_are_not_sorted_have_no_link_to_do_so(types, visitor, titles):
    sentence = "Rows can be sorted by the first 50 columns."
    job = with_results(types["open"], [["x"] * 51], results_columns=titles and json.dumps(titles))
    page = text_of(visitor.get(page_of(job)))
    assert "?sort=50#results" in page
    assert "?sort=51" not in page
    assert sentence in page
    narrow = with_results(types["open"], [["x"] * 50], results_columns=titles and json.dumps(titles[:50]))
    assert sentence not in text_of(visitor.get(page_of(narrow)))


def test_a_column_with_titles_is_sorted_and_searched_by_its_place(types, visitor):
    job = with_results(types["open"], [["b", 1], ["a", 2]], **TITLED)
    assert column(visitor, job, "?sort=1") == ["a", "b"]
    assert column(visitor, job, "?cell=2") == ["a"]


def test_live_news_have_the_titles(types, visitor):
    job = with_results(types["open"], [["TEA-01"]], **TITLED)
    Job.objects.filter(pk=job.pk).update(status="running", attempt_token="t", finished_at=None)
    news = visitor.get(page_of(job, "live/") + "?state=x&after=0&results=0").json()
    assert "SKU" in news["parts"]["results"]


def test_the_csv_begins_with_the_titles_and_has_the_errors_in_one_column(types, visitor, settings):
    job = with_results(
        types["open"], [["TEA-01", 1, 2], ["TEA-02"], [("TEA-03", "bad")]], results_columns='["=SKU", ["Yes"], ""]'
    )
    settings.LANGUAGE_CODE = "de"
    text = text_of(visitor.get(page_of(job, "results.csv")))
    assert text.lstrip("\ufeff").splitlines() == [
        "Zeile,'=SKU,Ja,,Fehler",
        "1,TEA-01,1,2,",
        "2,TEA-02,,,",
        "3,TEA-03,,,bad",
    ]


def test_a_spreadsheet_has_the_titles(types, visitor):
    sheet = sheet_of(visitor.get(page_of(with_results(types["open"], [["TEA-01"]], **TITLED), "results.xlsx")))
    assert [cell.value for cell in sheet[1]] == ["Row", "Errors", "SKU", "Yes", "<b>Price</b>"]


def test_results_as_json_have_titles_keys_values_and_errors(types, visitor):
    job = with_results(types["open"], [["TEA-01", 1.5], [("\ud83d\ude00", "bad"), None]], **TITLED)
    ResultsRow.objects.filter(number=2).update(key="TEA-02")
    response = visitor.get(page_of(job, "results.json"))
    assert response["Content-Disposition"] == f'attachment; filename="open-door-{job.pk}-results.json"'
    assert (response["Content-Type"], response["X-Content-Type-Options"]) == (
        "application/json; charset=utf-8",
        "nosniff",
    )
    assert json.loads(text_of(response)) == {
        "columns": ["SKU", "Yes", "<b>Price</b>"],
        "rows": [
            {"row": 1, "key": None, "cells": [{"value": "TEA-01", "error": ""}, {"value": 1.5, "error": ""}]},
            {
                "row": 2,
                "key": "TEA-02",
                "cells": [{"value": "\U0001f600", "error": "bad"}, {"value": None, "error": ""}],
            },
        ],
    }


def test_results_as_json_are_json_without_rows_too(types, visitor):
    response = visitor.get(page_of(make_job(types["open"], "done"), "results.json"))
    assert json.loads(text_of(response)) == {"columns": [], "rows": []}


def test_the_job_as_json_has_the_titles_for_those_who_may_see_the_results(types, visitor, client):
    job = with_results(types["open"], [["TEA-01"]], **TITLED)
    assert visitor.get(page_of(job, "job.json")).json()["results_columns"] == ["SKU", "Yes", "<b>Price</b>"]
    client.force_login(user_with("qorworker.view_job"))
    assert client.get(page_of(job, "job.json")).json()["results_columns"] is None


def test_files_need_the_right_to_the_log(types, client):
    job = with_results(types["open"], [["a"]])
    client.force_login(user_with("qorworker.view_job"))
    assert client.get(page_of(job, "results.xlsx")).status_code == 403
    assert client.get(page_of(job, "results.csv")).status_code == 403
    assert client.get(page_of(job, "results.json")).status_code == 403


@pytest.mark.parametrize(("title", "name"), [("Ünïque title!", "unique-title"), ("作业", "job")])
def test_files_are_called_like_their_job(types, visitor, title, name):
    import qorworker

    job = with_results(qorworker.job(name="tests.named", title=title)(lambda: None), [["a"]])
    found = visitor.get(page_of(job, "results.csv"))["Content-Disposition"]
    assert found == f'attachment; filename="{name}-{job.pk}-results.csv"'


def test_a_plain_cell_takes_no_more_than_its_text(types, visitor):
    """A table may have 50,000 of them, and live pages send it again."""
    job = with_results(types["open"], [["tea", 7, ("-3", "too few"), None]])
    page = text_of(visitor.get(page_of(job)))
    assert "<td>tea</td><td>7</td>" in page
    assert table(visitor.get(page_of(job)))[0][0] == "tea"


def test_what_comes_while_the_page_is_open_is_listed_at_its_top(types, visitor):
    job = make_job(types["greet"], "running")
    page = visitor.get(page_of(job, "live/"))
    assert 'href="#results"' not in page.json()["parts"]["contents"]
    known = page.json()["state"]
    ResultsRow.objects.create(job=job, number=1, attempt=1, cells=[{"value": "tea", "error": ""}])
    Job.objects.filter(pk=job.pk).update(results_rows=1)
    news = visitor.get(page_of(job, "live/"), known).json()
    assert 'href="#results"' in news["parts"]["contents"]
    assert "contents" not in visitor.get(page_of(job, "live/"), news["state"]).json()["parts"]
