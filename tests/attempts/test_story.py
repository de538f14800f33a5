"""What attempts report beside their log: titles of columns, rows with keys, files. Written behind the token."""

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from qorworker.arguments import files
from qorworker.attempts.attempt import RunningAttempt
from qorworker.attempts.writer import End, Writer
from qorworker.execution.messages import BadRecord, decode, encode
from qorworker.models import Job, JobFile
from qorworker.models.sql import claim
from qorworker.text.masking import Mask
from tests.models.refusing import converted
from tests.models.rows import make_job, wanted

pytestmark = pytest.mark.django_db(transaction=True)
PARTY = "\N{PARTY POPPER}"


@pytest.fixture
def writer(transactional_db):
    return Writer("default", 1, "host:1")


def claimed(job):
    [found] = [each for each in claim("default", wanted()) if each.id == job.pk]
    return RunningAttempt(found, "default", process_id=4711, changed=True)


def running(**fields):
    return claimed(make_job(**fields))


def stored(attempt):
    return Job.objects.get(pk=attempt.job.id)


def finish(writer, attempt, outcome="done"):
    writer.end(End(attempt, attempt.end(outcome, ""), outcome))
    writer.flush(())


def test_titles_and_rows_with_and_without_keys_are_written_together(writer):
    first, second = running(), running()
    first.apply(["columns", 1, ["SKU", ["Name"], ["March", "month"]]])
    first.apply(["row", 1, [["a", ""]], "TEA-01"])
    first.apply(["row", 1, [["b", ""]]])
    second.apply(["row", 1, [["c", "bad"]], "TEA-02"])
    writer.flush([first, second])
    assert stored(first).results_titles == ["SKU", "Name", "March"]
    assert stored(second).results_titles == []
    assert list(stored(first).results.values_list("number", "key")) == [(1, "TEA-01"), (2, None)]
    assert list(stored(second).results.values_list("number", "key", "has_error")) == [(1, "TEA-02", True)]
    assert not first.columns


def test_titles_that_come_with_the_end_are_written_with_it(writer):
    attempt = running()
    attempt.apply(["columns", 1, ["SKU"]])
    finish(writer, attempt)
    assert (stored(attempt).status, stored(attempt).results_titles) == ("done", ["SKU"])


def test_an_attempt_that_lost_its_job_writes_none_of_it(writer):
    attempt = running()
    Job.objects.filter(pk=attempt.job.id).update(attempt_token="another")
    attempt.apply(["columns", 1, ["SKU"]])
    attempt.apply(["row", 1, [["a", ""]], "TEA-01"])
    assert writer.flush([attempt]) == [attempt]
    assert (stored(attempt).results_titles, stored(attempt).results.count()) == ([], 0)


def test_the_next_attempt_begins_without_titles(writer):
    attempt = running(max_attempts=2)
    attempt.apply(["columns", 1, ["SKU"]])
    finish(writer, attempt, "failed")
    assert stored(attempt).results_titles == ["SKU"]
    Job.objects.filter(pk=attempt.job.id).transition("new")
    again = claimed(stored(attempt))
    assert stored(again).results_columns is None


def test_secrets_are_masked_once_more(writer):
    attempt = running()
    attempt.mask = Mask(["c4n4ry"])
    attempt.apply(["columns", 1, ["c4n4ry", ["c4n4ry"]]])
    attempt.apply(["row", 1, [], "c4n4ry"])
    writer.flush([attempt])
    assert "c4n4ry" not in stored(attempt).results_columns
    assert stored(attempt).results.get().key == "••••••"


@pytest.mark.parametrize(
    "record",
    [
        ["columns", 1, ["x"] * 1001], ["columns", 1, [7]], ["columns", 1, [["a", "b", "c"]]], ["columns", 1, "SKU"],
        ["row", 1, [], 7], ["row", 1, [], None], ["row", 1, [], "a", "b"], ["row", 1, [["a"]], "key"],
    ],
)  # fmt: skip
def test_what_no_child_of_ours_sends_is_refused(record):
    with pytest.raises(BadRecord):
        decode(encode([record]))


def test_titles_that_are_too_long_are_not_kept(writer):
    attempt = running()
    attempt.apply(["columns", 1, ["x" * 40_000]])
    attempt.apply(["row", 1, [], "x" * 500])
    writer.flush([attempt])
    assert stored(attempt).results_titles == []
    assert len(stored(attempt).results.get().key) == 200


@pytest.mark.only_on("mysql")
def test_characters_that_the_tables_lack_become_escapes(writer):
    with converted("utf8mb3"):
        attempt = running()
        attempt.apply(["columns", 1, ["SKU", PARTY]])
        attempt.apply(["row", 1, [["a", ""]]])
        attempt.apply(["row", 1, [["b", ""]], PARTY])
        writer.flush([attempt])
        job = stored(attempt)
        assert job.results_titles == ["SKU", PARTY]
        assert list(job.results.values_list("key", flat=True)) == [None, "\\U0001f389"]


# Files


@pytest.fixture
def kept():
    """What a child keeps of a file, and its place in the storage."""
    stored = files.keep(ContentFile(b"x", "report.pdf"))
    yield stored
    default_storage.delete(stored["$file"])


def test_a_file_gets_a_row_and_the_job_counts_it(writer, kept):
    attempt = running()
    attempt.apply(["file", 1, 1_700_000_000.0, kept])
    attempt.apply(["row", 1, [["report.pdf", "", kept["$file"][-32:]], ["x", ""]]])
    writer.flush([attempt])
    job, row = stored(attempt), stored(attempt).files.get()
    assert (job.files_count, row.name, row.size, row.attempt, row.key) == (1, "report.pdf", 1, 1, kept["$file"])
    assert (row.sha256, row.storage, row.at.year) == (kept["sha256"], "default", 2023)
    assert job.results.get().cells == [
        {"value": "report.pdf", "error": "", "file": kept["$file"][-32:]}, {"value": "x", "error": ""},
    ]  # fmt: skip
    assert files.fetch(row.kept).read() == b"x"


def test_a_file_that_is_written_again_after_a_lost_answer_counts_once(writer, kept):
    attempt = running()
    for _time in range(2):
        attempt.apply(["file", 1, 0.0, kept])
        writer.flush([attempt])
    assert (stored(attempt).files_count, stored(attempt).files.count()) == (1, 1)


def test_a_file_of_an_attempt_that_lost_its_job_does_not_appear(writer, kept):
    attempt = running()
    Job.objects.filter(pk=attempt.job.id).update(attempt_token="another")
    attempt.apply(["file", 1, 0.0, kept])
    assert writer.flush([attempt]) == [attempt]
    assert (stored(attempt).files_count, JobFile.objects.count()) == (0, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"$file": "qorworker/../private/salaries.csv"}, {"storage": "other"}, {"size": -1}, {"size": 2**63},
        {"size": True}, {"name": 7}, {"sha256": None}, {"owner": 7},
    ],
)  # fmt: skip
def test_a_file_that_none_of_ours_stored_is_ignored(writer, kept, change):
    attempt = running()
    attempt.apply(["file", 1, 0.0, {**kept, **change}])
    writer.flush([attempt])
    assert (stored(attempt).files_count, JobFile.objects.count()) == (0, 0)


def test_names_are_cleaned_and_masked_once_more(writer, kept):
    attempt = running()
    attempt.mask = Mask(["c4n4ry"])
    attempt.apply(["file", 1, 0.0, {**kept, "name": "../c4n4ry\n" + "x" * 150, "content_type": "y" * 500}])
    attempt.apply(["row", 1, [["a", "", "../../x"]]])
    writer.flush([attempt])
    row = stored(attempt).files.get()
    assert (row.name, row.content_type) == ("••••••" + "x" * 150, "y" * 100)
    assert stored(attempt).results.get().cells == [{"value": "a", "error": ""}]


def test_no_more_files_are_kept_than_may_be_added(writer, kept, settings):
    settings.QORWORKER = {**settings.QORWORKER, "FILES": 1}
    attempt = running()
    for end in "12":
        attempt.apply(["file", 1, 0.0, {**kept, "$file": f"qorworker/0000/{end * 32}"}])
        writer.flush([attempt])
    assert stored(attempt).files_count == 1


@pytest.mark.only_on("mysql")
def test_characters_of_a_name_that_the_table_lacks_become_escapes(writer, kept):
    with converted("utf8mb3"):
        attempt = running()
        attempt.apply(["file", 1, 0.0, {**kept, "name": f"{PARTY}.pdf"}])
        writer.flush([attempt])
        assert stored(attempt).files.get().name == "\\U0001f389.pdf"
