"""Files that a handler adds: whatever they are made of, whole or not at all."""

import errno
import hashlib
import io
import os
import socket
import tempfile
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage, InMemoryStorage, storages
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile

from qorworker import Cell
from qorworker.arguments import files
from qorworker.exceptions import JobAborted
from qorworker.text.masking import Mask
from tests.execution.test_context import Records, make

CONTENT = "Grüße,1\n".encode()


@pytest.fixture
def records():
    return Records()


@pytest.fixture
def context(records):
    return make(records)


@pytest.fixture(autouse=True)
def folder(settings, tmp_path):
    settings.MEDIA_ROOT = str(tmp_path / "media")
    return Path(settings.MEDIA_ROOT)


def on_disk():
    return [path for path in Path(storages["default"].location).rglob("*") if path.is_file()]


def opened(path, *mode):
    return path.open(*mode)


CONTENTS = {
    "bytes": lambda path: CONTENT,
    "bytearray": lambda path: bytearray(CONTENT),
    "memoryview": lambda path: memoryview(CONTENT),
    "text": lambda path: CONTENT.decode(),
    "path": lambda path: path,
    "open file": lambda path: path.open("rb"),
    "open text file": lambda path: path.open(encoding="utf-8"),
    "BytesIO": lambda path: io.BytesIO(CONTENT),
    "StringIO": lambda path: io.StringIO(CONTENT.decode()),
    "ContentFile": lambda path: ContentFile(CONTENT),
    "ContentFile of text": lambda path: ContentFile(CONTENT.decode()),
    "File": lambda path: File(path.open("rb")),
    "upload": lambda path: SimpleUploadedFile("x.csv", CONTENT, "text/csv"),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_the_content_is_stored_as_it_is(context, records, tmp_path, kind):
    path = tmp_path / "prices.csv"
    path.write_bytes(CONTENT)
    given = CONTENTS[kind](path)
    added = context.add_file("report.csv", given)
    [[_at, kept]] = records.of("file")
    assert files.fetch(kept).read() == CONTENT
    assert (kept["name"], kept["size"], kept["storage"]) == ("report.csv", len(CONTENT), "default")
    assert (kept["sha256"], kept["content_type"]) == (hashlib.sha256(CONTENT).hexdigest(), "text/csv")
    assert files.is_kept(kept)
    assert (added.name, added.size, added.token) == ("report.csv", len(CONTENT), kept["$file"][-32:])
    assert path.read_bytes() == CONTENT


def test_an_empty_file_is_a_file(context, records):
    assert context.add_file("empty", b"").size == 0


def test_a_file_that_was_read_before_is_stored_from_its_beginning(context, records):
    given = io.BytesIO(CONTENT)
    given.read()
    assert context.add_file("a", given).size == len(CONTENT)


def test_what_can_be_read_only_once_is_stored(context, records):
    reader, writer = os.pipe()
    os.write(writer, CONTENT)
    os.close(writer)
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        assert context.add_file("a", pipe).size == len(CONTENT)
    one, other = socket.socketpair()
    with one, other:
        one.sendall(CONTENT)
        one.shutdown(socket.SHUT_WR)
        with other.makefile("rb") as stream:
            assert context.add_file("b", stream).size == len(CONTENT)


def test_a_temporary_upload_stays_with_the_handler(context, records):
    with TemporaryUploadedFile("x", "text/plain", 0, None) as upload:
        upload.write(CONTENT)
        upload.flush()
        assert context.add_file("a", upload).size == len(CONTENT)
        assert os.path.exists(upload.temporary_file_path())
        assert records.of("file")[0][1]["content_type"] == "text/plain"


@pytest.mark.parametrize("content", [None, 7, ["a"], {"a": 1}, object()])
def test_anything_else_is_refused(context, records, content):
    with pytest.raises(TypeError, match=f"takes bytes, a text, a path, .* not {type(content).__name__}"):
        context.add_file("a", content)
    assert (records, on_disk()) == ([], [])


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("report.pdf", "report.pdf"), ("../../etc/passwd", "passwd"), ("C:\\x\\y.txt", "y.txt"), ("/", "file"),
        ("a\nb\x00\x1b.csv", "ab.csv"), ("", "file"), ("..", "file"), ("x" * 496 + ".pdf", "x" * 196 + ".pdf"),
        (Path("out/stock.csv"), "stock.csv"), ("Grüße 茶.pdf", "Grüße 茶.pdf"), ("\u202egpj.exe", "gpj.exe"),
    ],
)  # fmt: skip
def test_a_name_is_for_display_only(context, records, folder, name, shown):
    assert context.add_file(name, b"x").name == shown
    [path] = on_disk()
    assert path.is_relative_to(folder / "qorworker")
    assert files.TOKEN.fullmatch(path.name)


def test_a_secret_in_a_name_is_masked(records):
    make(records, mask=Mask(["c4n4ry"])).add_file("for c4n4ry.pdf", b"x")
    assert records.of("file")[0][1]["name"] == "for ••••••.pdf"


class TestLimits:
    @pytest.fixture(autouse=True)
    def _limit(self, settings):
        settings.QORWORKER = {**settings.QORWORKER, "FILE_BYTES": 1_000, "FILES": 2}

    @pytest.mark.parametrize(
        "content",
        [b"x" * 1001, "ü" * 501, io.BytesIO(b"x" * 1001), io.StringIO("ü" * 501), ContentFile("ü" * 501)],
        ids=lambda content: type(content).__name__,
    )
    def test_a_file_that_is_too_large_is_refused_before_any_of_it_is_stored(self, context, records, content):
        with pytest.raises(ValueError, match=r"larger than the 1,000 bytes that a job may add \(FILE_BYTES\)"):
            context.add_file("a", content)
        assert (records, on_disk()) == ([], [])

    def test_five_gigabytes_are_refused_without_being_read(self, context, tmp_path, monkeypatch):
        path = tmp_path / "huge"
        with path.open("wb") as file:
            file.truncate(5 * 1024**3)
        monkeypatch.setattr(File, "chunks", lambda self, size=None: pytest.fail("It was read."))
        with pytest.raises(ValueError, match="larger than"):
            context.add_file("a", path)

    def test_of_what_does_not_tell_its_size_no_more_is_read_than_may_be_stored(self, context):
        class Endless(io.RawIOBase):
            given = 0

            def readable(self):
                return True

            def readinto(self, buffer):
                self.given += len(buffer)
                return len(buffer)

        with pytest.raises(ValueError, match="larger than"):
            context.add_file("a", endless := Endless())
        assert endless.given <= 2 * File.DEFAULT_CHUNK_SIZE

    def test_as_much_as_allowed_is_stored(self, context, records):
        assert context.add_file("a", b"x" * 1000).size == 1000

    def test_one_file_too_many_is_refused(self, context, records):
        for _number in range(2):
            context.add_file("a", b"x")
        with pytest.raises(ValueError, match=r"has added 2 files, and no more may be added \(FILES\)"):
            context.add_file("a", b"x")
        assert (len(records), len(on_disk())) == (2, 2)


def test_a_large_file_is_read_in_chunks(context, records, tmp_path, monkeypatch):
    path, sizes = tmp_path / "large", []
    path.write_bytes(b"x" * (5 * File.DEFAULT_CHUNK_SIZE + 1))
    chunks = File.chunks

    def counted(self, size=None):
        for chunk in chunks(self, size):
            sizes.append(len(chunk))
            yield chunk

    monkeypatch.setattr(File, "chunks", counted)
    assert context.add_file("a", path).size == 5 * File.DEFAULT_CHUNK_SIZE + 1
    assert max(sizes) == File.DEFAULT_CHUNK_SIZE


class Failing(File):
    """A file that fails when it is read a second time, after its first chunk."""

    passes = 0
    error: BaseException

    def chunks(self, size=None):
        self.passes += 1
        yield b"x" * 10
        if self.passes > 1:
            raise self.error
        yield b"x" * 10


class TestNothingByHalf:
    @pytest.fixture
    def storing(self, monkeypatch):
        """``storing(error)``: from now on the disk takes one chunk of a file, and then fails."""

        def fail(error):
            chunks = File.chunks

            def failing(self, size=None):
                yield from chunks(self, 4)
                if isinstance(self.file, File):  # the pass that stores
                    raise error

            monkeypatch.setattr(File, "chunks", failing)

        return fail

    @pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), JobAborted(), ValueError("x")])
    def test_a_failure_leaves_neither_a_part_nor_a_record(self, context, records, storing, error):
        storing(error)
        with pytest.raises(type(error)):
            context.add_file("a", CONTENT)
        assert (records, on_disk()) == ([], [])

    def test_after_a_failure_another_file_can_be_added(self, context, records, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr(FileSystemStorage, "_save", lambda *given: (_ for _ in ()).throw(OSError("full")))
            with pytest.raises(OSError, match="full"):
                context.add_file("a", CONTENT)
        assert context.add_file("a", CONTENT).size == len(CONTENT)

    def test_a_file_that_changes_meanwhile_is_refused(self, context, records, tmp_path, monkeypatch):
        path, save = tmp_path / "growing", FileSystemStorage.save
        path.write_bytes(CONTENT)

        def grow_and_save(self, name, content, max_length=None):
            with path.open("ab") as file:
                file.write(b"more")
            return save(self, name, content, max_length)

        monkeypatch.setattr(FileSystemStorage, "save", grow_and_save)
        with pytest.raises(ValueError, match="was changed while it was stored"):
            context.add_file("a", path)
        assert (records, on_disk()) == ([], [])

    def test_a_site_without_a_folder_is_told_so(self, context, records, settings):
        settings.MEDIA_ROOT = ""
        with pytest.raises(ImproperlyConfigured, match="MEDIA_ROOT must be set"):
            context.add_file("a", CONTENT)
        assert records == []

    def test_any_storage_will_do(self, context, records, settings):
        settings.STORAGES = {**settings.STORAGES, "memory": {"BACKEND": f"{__name__}.Forgetful"}}
        settings.QORWORKER = {**settings.QORWORKER, "UPLOAD_STORAGE": "memory"}
        context.add_file("a", CONTENT)
        kept = records.of("file")[0][1]
        assert kept["storage"] == "memory"
        assert storages["memory"].open(kept["$file"]).read() == CONTENT

    def test_a_storage_that_renames_files_is_refused_since_they_could_not_be_found(self, context, records, settings):
        settings.STORAGES = {**settings.STORAGES, "memory": {"BACKEND": f"{__name__}.Renaming"}}
        settings.QORWORKER = {**settings.QORWORKER, "UPLOAD_STORAGE": "memory"}
        with pytest.raises(ImproperlyConfigured, match=r"keeps files under names of its own, such as 'elsewhere/"):
            context.add_file("a", CONTENT)
        assert records.of("file") == []


class Renaming(InMemoryStorage):
    """A storage that has names of its own."""

    def save(self, name, content, max_length=None):
        return super().save(f"elsewhere/{name}", content, max_length)


class Forgetful(InMemoryStorage):
    """A storage that knows no sizes."""

    def size(self, name):
        raise NotImplementedError


class TestCells:
    def test_a_cell_links_to_a_file_by_its_name_or_by_what_was_returned(self, context, records):
        first = context.add_file("a.pdf", b"x")
        context.add_results_row(first, Cell("see", file="a.pdf"), Cell(7, error="odd", file=first), "a.pdf")
        [[cells]] = records.of("row")
        assert cells == [
            ["a.pdf", "", first.token], ["see", "", first.token], [7, "odd", first.token], ["a.pdf", ""],
        ]  # fmt: skip
        assert context.results_errors == 1

    @pytest.mark.parametrize(
        ("value", "shown"), [("", "a.pdf"), (None, "a.pdf"), (0, 0), (False, False), (" \n", "a.pdf")]
    )
    def test_a_link_without_a_text_shows_the_name_of_the_file(self, context, records, value, shown):
        added = context.add_file("a.pdf", b"x")
        context.add_results_row(Cell(value, file="a.pdf"), Cell(file=added), Cell(value))
        [[cells]] = records.of("row")
        assert cells == [[shown, "", added.token], ["a.pdf", "", added.token], [value, ""]]

    def test_of_two_files_of_one_name_the_last_is_meant(self, context, records):
        context.add_file("a.pdf", b"1")
        second = context.add_file("../a.pdf", b"2")
        context.add_results_row(Cell("see", file="a.pdf"))
        assert records.of("row")[0][0][0][2] == second.token

    @pytest.mark.parametrize("name", ["lists/Berlin.csv", "s3cret.csv", "a\0.csv", Path("b.csv")])
    def test_the_name_under_which_a_file_was_added_finds_it(self, records, name):
        context = make(records, mask=Mask(["s3cret"]))
        added = context.add_file(name, b"x")
        context.add_results_row(Cell("see", file=name))
        assert records.of("row")[0][0][0][2] == added.token

    def test_a_file_that_was_not_added_is_refused_and_named(self, context, records):
        with pytest.raises(ValueError, match=r"No file 'b\.pdf' was added before the cell"):
            context.add_results_row(Cell("see", file="b.pdf"))
        assert (records, context.results_rows) == ([], 0)

    def test_a_long_row_keeps_its_links(self, context, records, settings):
        settings.QORWORKER = {**settings.QORWORKER, "RESULTS_ROW_BYTES": 1024}
        added = context.add_file("a.pdf", b"x")
        context.add_results_row(Cell("x" * 5000, file=added))
        assert records.of("row")[0][0][0][2] == added.token


def test_a_temporary_file_of_the_system_can_be_added(context, records):
    with tempfile.NamedTemporaryFile("w+") as file:
        file.write("Grüße")
        assert context.add_file("a", file).size == 7
