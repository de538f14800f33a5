"""The files that a job has added: on its page, as JSON, and as downloads that no browser opens by itself."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
from contextlib import suppress

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage
from django.db import transaction
from django.utils import timezone

from qorworker.actions import pruning
from qorworker.admin.jobs import files as page_files
from qorworker.arguments import files
from qorworker.models import Job, JobFile, ResultsRow
from tests.admin.support import make_job, messages_of, page_of, text_of, user_with

pytestmark = [pytest.mark.django_db, pytest.mark.once]
CONTENT = b"<script>alert('x')</script>"


@pytest.fixture
def added():
    """``added(job, name)``: a file of that job; all are gone from the storage after the test."""
    keys = []

    def add(job, name="report.html", content=CONTENT, attempt=None, **fields):
        kept = {**files.keep(ContentFile(content, name)), **fields}
        keys.append(kept["$file"])
        row = JobFile.objects.create(
            job=job, attempt=job.attempt if attempt is None else attempt, at=timezone.now(), name=kept["name"],
            size=kept["size"], sha256=kept["sha256"], content_type="text/html", storage=kept["storage"],
            key=kept["$file"],
        )  # fmt: skip
        Job.objects.count_files([job.pk])
        job.refresh_from_db()
        return row

    yield add
    for key in keys:
        default_storage.delete(key)


@pytest.fixture
def job(types):
    return make_job(types["open"], "done", attempt=2)


def names(page, part=""):
    section = page.split('id="files"')[1].split("</section>")[0] if 'id="files"' in page else ""
    before, _details, behind = section.partition("<details>")
    return re.findall(r"<li><a [^>]*>([^<]*)</a>", behind if part == "earlier" else before)


def address(row):
    return page_of(row.job, f"files/{row.token}/")


class TestPage:
    def test_files_are_listed_with_their_sizes_and_links(self, visitor, job, added):
        first, second = added(job, "a<b>.html"), added(job, "b.pdf", b"x" * 2048)
        page = text_of(visitor.get(page_of(job)))
        assert names(page) == ["a&lt;b&gt;.html", "b.pdf"]
        assert f'<a href="{address(first)}">' in page
        assert re.search(re.escape(address(second)) + r'">b.pdf</a><span class="qw-quiet">2.0\xa0KB</span>', page)
        assert '<a href="#files">Files</a>' in page

    def test_without_files_nothing_is_shown_or_asked(self, visitor, job, django_assert_max_num_queries):
        with django_assert_max_num_queries(12):
            page = text_of(visitor.get(page_of(job)))
        assert 'id="files"' not in page
        assert "#files" not in page

    def test_files_of_earlier_attempts_stand_apart(self, visitor, job, added):
        added(job, "old.pdf", attempt=1)
        added(job, "new.pdf")
        page = text_of(visitor.get(page_of(job)))
        assert (names(page), names(page, "earlier")) == (["new.pdf"], ["old.pdf"])
        assert "· Attempt 1" in page

    def test_of_very_many_files_the_page_shows_some(self, visitor, job, added, monkeypatch):
        monkeypatch.setattr(page_files, "SHOWN", 1)
        added(job, "a.pdf")
        added(job, "b.pdf")
        page = text_of(visitor.get(page_of(job)))
        assert names(page) == ["a.pdf"]
        assert f'1 more file is listed in <a href="{page_of(job, "job.json")}">job.json</a>.' in page

    def test_they_take_the_right_to_see_the_log(self, client, job, added):
        row = added(job)
        client.force_login(user_with("qorworker.view_job", "qorworker.view_job_arguments"))
        assert 'id="files"' not in text_of(client.get(page_of(job)))
        assert client.get(page_of(job, "job.json")).json()["files"] is None
        assert client.get(address(row)).status_code == 403
        client.force_login(user_with("qorworker.view_job", "qorworker.view_job_log", name="reader"))
        assert 'id="files"' in text_of(client.get(page_of(job)))
        assert client.get(address(row)).status_code == 200

    def test_a_new_file_comes_live_and_an_old_one_does_not_come_again(self, visitor, types, added):
        job = make_job(types["open"], "running")
        live = page_of(job, "live/") + "?state=running.1.0.0.0.0&after=0&results=0&files={}"
        first = visitor.get(live.format(0))
        assert "files" not in first.json()["parts"]
        added(job)
        news = visitor.get(live.format(0), headers={"If-None-Match": first["ETag"]}).json()
        assert "report.html" in news["parts"]["files"]
        assert news["state"]["files"] == 1
        assert "files" not in visitor.get(live.format(1)).json()["parts"]

    def test_a_cell_of_the_results_links_to_its_file(self, visitor, job, added):
        row = added(job, "report.pdf")
        Job.objects.filter(pk=job.pk).update(results_rows=1)
        cells = [{"value": "see <b>", "error": "", "file": row.token}, {"value": 7, "error": "odd", "file": row.token}]
        ResultsRow.objects.create(job=job, number=1, attempt=2, cells=cells)
        page = text_of(visitor.get(page_of(job)))
        assert f'<td><a href="{address(row)}">see &lt;b&gt;</a>' in page
        assert f'<a href="{address(row)}">7</a>' in page
        exported = json.loads(text_of(visitor.get(page_of(job, "results.json"))))
        assert exported["rows"][0]["cells"][0]["file"] == f"http://testserver{address(row)}"
        assert "see <b>" in text_of(visitor.get(page_of(job, "results.csv")))


class TestDownload:
    def test_it_is_an_attachment_that_no_browser_guesses_about(self, visitor, job, added):
        response = visitor.get(address(added(job)))
        assert b"".join(response.streaming_content) == CONTENT
        assert response["Content-Disposition"] == 'attachment; filename="report.html"'
        assert response["Content-Type"] == "application/octet-stream"
        assert response["X-Content-Type-Options"] == "nosniff"
        assert response["Content-Length"] == str(len(CONTENT))

    @pytest.mark.parametrize(
        "name", ["../../etc/passwd", 'a"; filename="b.exe', "x\r\nSet-Cookie: a=b", "茶.pdf", ".."]
    )
    def test_a_hostile_name_stays_a_name(self, visitor, job, added, name):
        row = added(job, name)
        response = visitor.get(address(row))
        assert response.status_code == 200
        assert "Set-Cookie" not in response.headers
        assert response["Content-Disposition"].startswith("attachment; filename")
        assert "/" not in response["Content-Disposition"]

    @pytest.mark.parametrize("token", ["0" * 32, "..", "x", "%00", "0" * 32 + "%00", "%"])
    def test_what_is_none_of_its_files_is_not_found(self, visitor, job, added, token):
        added(job)
        assert visitor.get(page_of(job, f"files/{token}/")).status_code == 404

    def test_a_file_of_another_job_is_not_found(self, visitor, types, job, added):
        row, other = added(job), make_job(types["open"], "done")
        added(other)
        assert visitor.get(page_of(other, f"files/{row.token}/")).status_code == 404

    def test_a_file_that_is_gone_is_explained(self, visitor, job, added):
        row = added(job)
        default_storage.delete(row.key)
        response = visitor.get(address(row), follow=True)
        assert messages_of(response) == [
            "The file “report.html” is gone, was changed, or its storage does not return it now."
        ]

    def test_a_file_that_was_changed_is_not_sent(self, visitor, job, added):
        row = added(job, size=7)
        assert visitor.get(address(row)).status_code == 302


class TestJson:
    def test_job_json_lists_them_all(self, visitor, job, added):
        _old, new = added(job, "old.pdf", attempt=1), added(job, "new.pdf")
        listed = visitor.get(page_of(job, "job.json")).json()["files"]
        assert [(file["name"], file["attempt"]) for file in listed] == [("new.pdf", 2), ("old.pdf", 1)]
        assert listed[0] == {
            "name": "new.pdf", "size": len(CONTENT), "content_type": "text/html", "sha256": new.sha256, "attempt": 2,
            "url": f"http://testserver{address(new)}",
        }  # fmt: skip

    def test_without_files_the_list_is_empty(self, visitor, job):
        assert visitor.get(page_of(job, "job.json")).json()["files"] == []


class TestDeleting:
    def test_the_question_counts_them_and_they_go_with_the_job(
        self, visitor, job, added, django_capture_on_commit_callbacks
    ):
        row = added(job)
        assert "Files: 1" in text_of(visitor.get(page_of(job, "delete/")))
        with django_capture_on_commit_callbacks(execute=True):
            visitor.post(page_of(job, "delete/"), {"post": "yes"})
        assert not JobFile.objects.exists()
        assert not default_storage.exists(row.key)

    def test_code_that_deletes_jobs_deletes_their_files(self, job, added, django_capture_on_commit_callbacks):
        row = added(job)
        with django_capture_on_commit_callbacks(execute=True):
            Job.objects.filter(pk=job.pk).delete()
        assert not default_storage.exists(row.key)

    def test_if_that_is_rolled_back_they_stay(self, job, added):
        row = added(job)
        with suppress(ZeroDivisionError), transaction.atomic():
            job.delete()
            raise ZeroDivisionError
        assert default_storage.exists(row.key)
        assert JobFile.objects.exists()

    def test_a_storage_that_fails_is_logged_and_hinders_no_other(
        self, job, added, caplog, monkeypatch, django_capture_on_commit_callbacks
    ):
        first, second = added(job), added(job)

        def fail_first(self, name):
            if name == first.key:
                raise ConnectionError("no answer")
            return delete(self, name)

        delete = FileSystemStorage.delete
        with monkeypatch.context() as patch:
            patch.setattr(FileSystemStorage, "delete", fail_first)
            with django_capture_on_commit_callbacks(execute=True):
                job.delete()
        assert "could not be deleted" in caplog.text
        assert not default_storage.exists(second.key)

    def test_pruning_goes_on_behind_a_file_that_was_deleted_since_it_was_listed(self, monkeypatch):
        strays = [files.keep(ContentFile(b"x", "half.pdf"))["$file"] for _ in range(2)]
        monkeypatch.setattr(files, "stored", lambda storage: iter(strays))
        default_storage.delete(strays[0])
        os.utime(default_storage.path(strays[1]), (1_000_000_000, 1_000_000_000))
        assert list(pruning.stray_uploads(default_storage)) == strays[1:]
        default_storage.delete(strays[1])

    def test_pruning_finds_what_has_no_row_and_leaves_what_has_one(self, job, added, monkeypatch):
        row, stray = added(job), files.keep(ContentFile(b"x", "half.pdf"))
        monkeypatch.setattr(pruning, "UPLOAD_AGE", dt.timedelta(seconds=-60))
        found = list(pruning.stray_uploads(default_storage))
        assert stray["$file"] in found
        assert row.key not in found
        default_storage.delete(stray["$file"])
