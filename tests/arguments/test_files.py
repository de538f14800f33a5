"""Uploaded arguments: kept in a storage under a name that tells nothing, checked when they are read again."""

import hashlib
import io
from pathlib import Path

import pytest
from django import forms
from django.core.files.base import ContentFile, File
from django.core.files.storage import storages
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile, UploadedFile
from django.test import override_settings

from qorworker import InvalidArguments
from qorworker.arguments import Arguments, files
from qorworker.exceptions import UploadsUnavailable

CONTENT = b"sku,price\nA-1,5\n"


def handler(file: UploadedFile, second: UploadedFile | None = None):
    pass


@pytest.fixture
def arguments():
    return Arguments("t", handler)


@pytest.fixture(autouse=True)
def _folder(settings, tmp_path):
    settings.MEDIA_ROOT = str(tmp_path)


def upload(name="prices.csv", content=CONTENT):
    return SimpleUploadedFile(name, content, content_type="text/csv")


def on_disk():
    return [path for path in Path(storages["default"].location).rglob("*") if path.is_file()]


def test_the_handler_reads_what_was_uploaded(arguments):
    file = arguments.load(arguments.dump(arguments.clean({"file": upload()})))["file"]
    assert isinstance(file, UploadedFile)
    assert (file.read(), file.name, file.size, file.content_type) == (CONTENT, "prices.csv", len(CONTENT), "text/csv")


def test_the_table_keeps_hash_size_and_name_but_not_the_content(arguments):
    stored = arguments.dump(arguments.clean({"file": upload()}))
    assert stored["second"] is None
    kept = stored["file"]
    assert kept["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert (kept["size"], kept["name"], kept["storage"]) == (len(CONTENT), "prices.csv", "default")


def test_the_name_in_the_storage_tells_nothing(arguments):
    first, second = (arguments.dump(arguments.clean({"file": upload("a.html")}))["file"]["$file"] for _ in range(2))
    assert first != second
    assert first.startswith("qorworker/")
    assert ".html" not in first


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/passwd", "passwd"), ("C:\\x\\y.txt", "y.txt"), ("a\nb\x00.csv", "ab.csv"), ("a/..", "file"),
        ("\0.", "file"), ("", "file"), ("..a", "..a"),
    ],
)  # fmt: skip
def test_a_name_is_for_display_only(given, shown):
    assert files.display_name(given) == shown


def test_code_may_pass_any_file(arguments, tmp_path):
    path = tmp_path / "open.csv"
    path.write_bytes(CONTENT)
    with path.open("rb") as handle:
        for given, name in [
            (ContentFile(CONTENT, "content.csv"), "content.csv"),
            (ContentFile(CONTENT), "file"),
            (File(handle, "named.csv"), "named.csv"),
            (handle, "open.csv"),
            (io.BytesIO(CONTENT), "file"),
        ]:
            file = arguments.load(arguments.dump(arguments.clean({"file": given})))["file"]
            assert (file.read(), file.name) == (CONTENT, name)


def test_a_file_that_was_read_before_is_stored_from_its_start(arguments):
    given = upload()
    given.read()
    assert arguments.load(arguments.dump(arguments.clean({"file": given})))["file"].read() == CONTENT


@pytest.mark.parametrize("given", [None, "prices.csv", CONTENT, ContentFile(b"", "empty.csv")])
def test_what_is_no_file_is_refused(arguments, given):
    with pytest.raises(InvalidArguments) as error:
        arguments.clean({"file": given})
    assert list(error.value.errors) == ["file"]
    assert on_disk() == []


def test_a_file_above_the_limit_is_refused_in_form_and_code(arguments):
    with override_settings(QORWORKER={"UPLOAD_BYTES": 10}):
        with pytest.raises(InvalidArguments, match="limit"):
            arguments.clean({"file": upload()})
        form = arguments.form_class({}, {"file": upload()})
        assert list(form.errors) == ["file"]
    assert on_disk() == []


def test_a_file_above_the_limit_is_refused_in_a_given_form_too():
    class Given(forms.Form):
        file = forms.FileField()

    arguments = Arguments("t", lambda file: None, Given)
    with override_settings(QORWORKER={"UPLOAD_BYTES": 10}), pytest.raises(InvalidArguments) as error:
        arguments.dump(arguments.clean({"file": upload()}))
    assert list(error.value.errors) == ["file"]
    assert on_disk() == []


def test_nothing_is_stored_if_another_argument_does_not_fit():
    def mixed(file: UploadedFile, text: str):
        pass

    arguments = Arguments("t", mixed)
    with override_settings(QORWORKER={"ARGUMENTS_BYTES": 1024}), pytest.raises(InvalidArguments):
        arguments.dump(arguments.clean({"file": upload(), "text": "x" * 2000}))
    assert on_disk() == []


def test_if_the_second_file_cannot_be_stored_the_first_is_removed(arguments, monkeypatch):
    keep = files.keep

    def full(file):
        if file.name == "second.csv":
            raise OSError("disk full")
        return keep(file)

    monkeypatch.setattr(files, "keep", full)
    with pytest.raises(OSError, match="disk full"):
        arguments.dump(arguments.clean({"file": upload(), "second": upload("second.csv")}))
    assert on_disk() == []


def test_a_file_that_is_gone_is_named(arguments):
    stored = arguments.dump(arguments.clean({"file": upload()}))
    on_disk()[0].unlink()
    with pytest.raises(InvalidArguments) as error:
        arguments.load(stored)
    assert error.value.errors == {"file": ["The uploaded file “prices.csv” is gone."]}


class RemoteError(Exception):
    """What a client of a remote storage raises."""


@pytest.mark.parametrize("error", [RemoteError("503 Slow Down"), ConnectionResetError(), TimeoutError(), OSError()])
def test_a_storage_that_fails_for_the_moment_does_not_make_the_file_gone(arguments, monkeypatch, error):
    stored = arguments.dump(arguments.clean({"file": upload()}))

    def fail(key, mode="rb"):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(storages["default"], "open", fail)
        with pytest.raises(UploadsUnavailable) as told:
            arguments.load(stored)
        with pytest.raises(InvalidArguments) as both:
            arguments.load({**stored, "second": "no file"})
    assert "did not return the uploaded file “prices.csv”" in told.value.errors["file"][0]
    assert type(both.value) is InvalidArguments
    assert arguments.load(stored)["file"].read() == CONTENT


def test_a_storage_that_cannot_list_its_files_has_no_strays(monkeypatch):
    def listdir(path):
        raise NotImplementedError

    monkeypatch.setattr(storages["default"], "listdir", listdir)
    assert list(files.stored(storages["default"])) == []


def test_a_file_that_was_changed_is_named(arguments):
    stored = arguments.dump(arguments.clean({"file": upload()}))
    on_disk()[0].write_bytes(b"something else of another size")
    with pytest.raises(InvalidArguments, match="was changed"):
        arguments.load(stored)


@pytest.mark.parametrize(
    "planted",
    [
        "prices.csv",
        {"$file": "/etc/passwd", "storage": "default", "size": 1},
        {"$file": "qorworker/../../../../../etc/passwd", "storage": "default", "size": 1},
        {"$file": "qorworker/../private/salaries.csv", "storage": "default", "size": 1},
        {"$file": "qorworker/0000/salaries.csv", "storage": "default", "size": 1},
        {"$file": f"qorworker/0000/{'0' * 32}", "storage": "nowhere", "size": 1},
        {"$file": ["qorworker/x"]},
    ],
)
def test_a_planted_path_is_refused(arguments, planted):
    with pytest.raises(InvalidArguments) as error:
        arguments.load({"file": planted, "second": None})
    assert list(error.value.errors) == ["file"]


def test_running_again_copies_the_file(arguments):
    stored = arguments.dump(arguments.clean({"file": upload()}))
    again = arguments.dump(arguments.clean(arguments.reuse(stored, {})))
    assert again["file"]["$file"] != stored["file"]["$file"]
    assert again["file"]["sha256"] == stored["file"]["sha256"]
    assert again["file"]["name"] == "prices.csv"


def test_a_large_upload_comes_through_the_form(arguments):
    file = TemporaryUploadedFile("large.csv", "text/csv", len(CONTENT), None)
    file.write(CONTENT)
    file.seek(0)
    form = arguments.form_class({}, {"file": file})
    assert form.is_valid(), form.errors
    assert arguments.load(arguments.dump(form.cleaned_data))["file"].read() == CONTENT
    file.close()


def test_a_file_is_shown_by_its_name_and_size(arguments):
    stored = arguments.dump(arguments.clean({"file": upload()}))
    shown = arguments.display(stored)[0]
    assert (shown.kind, shown.text) == ("file", "prices.csv (16\xa0bytes)")
    assert "file" not in arguments.initial(stored)


def test_without_a_folder_an_upload_is_refused_by_name_and_nothing_is_written(
    arguments, settings, tmp_path, monkeypatch
):
    settings.MEDIA_ROOT = ""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArguments) as error:
        arguments.dump(arguments.clean({"file": upload()}))
    assert list(error.value.errors) == ["file"]
    assert "MEDIA_ROOT" in str(error.value)
    assert list(tmp_path.iterdir()) == []
