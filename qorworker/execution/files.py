"""The files that a handler adds to its job: into the storage of uploads, under a random name. Wherever a job runs.

The content goes straight to the storage: it may be large. The owner of the attempt is sent a record of it and adds the
row. Without its row a file is on no page, and ``prunejobs`` deletes it.
"""

from __future__ import annotations

import hashlib
import io
import mimetypes
import os
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import IO, Any, TypeAlias

from django.core.exceptions import ImproperlyConfigured
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import storages

from qorworker.arguments import files
from qorworker.conf import settings
from qorworker.text.masking import Mask
from qorworker.text.storable import text_of

Content: TypeAlias = "bytes | bytearray | memoryview | str | os.PathLike[str] | IO[Any] | File[Any]"


@dataclass(frozen=True)
class AddedFile:
    """A file that a job has added. A cell of the results can link to it."""

    name: str
    size: int  # bytes
    token: str  # the end of its address


def shown_name(name: object, mask: Mask) -> str:
    """Return the name under which a file is listed: without folders, control characters and secrets."""
    return files.display_name(mask(text_of(name)))


def keep(name: object, content: Content, mask: Mask) -> dict[str, Any]:
    """Store *content* and return what the job keeps of it. If that fails, nothing stays in the storage.

    :raises ValueError: if it is too large, or changes meanwhile.
    :raises TypeError: if it is nothing that can be stored.
    """
    if files.relative_location() == "":  # it would land in the folder where this process started
        raise ImproperlyConfigured("Files of jobs have no folder on this site. Its MEDIA_ROOT must be set.")
    shown, alias = shown_name(name, mask), settings.UPLOAD_STORAGE
    with ExitStack() as stack:
        file = _readable(_opened(content, stack), stack)
        size, digest = _measured(file)
        key = _stored(alias, file, size)
    kind = getattr(content, "content_type", None) or mimetypes.guess_type(shown)[0] or ""
    return {
        files.TAG: key,
        "storage": alias,
        "name": shown,
        "size": size,
        "sha256": digest,
        "content_type": str(kind)[:100],
    }


def _opened(content: Content, stack: ExitStack) -> File[Any]:
    if isinstance(content, File):
        return content
    if isinstance(content, str):
        return ContentFile(content.encode("utf-8", "backslashreplace"))
    if isinstance(content, (bytes, bytearray, memoryview)):
        return ContentFile(bytes(content))
    if isinstance(content, os.PathLike):
        return File(stack.enter_context(open(content, "rb")))
    if isinstance(content, io.IOBase) or hasattr(content, "read"):
        return File(content)
    raise TypeError(
        f"JobContext.add_file() takes bytes, a text, a path, an open file or a File, not {type(content).__name__}."
    )


def _readable(file: File[Any], stack: ExitStack) -> File[Any]:
    """Return *file*, or a copy of it, as bytes that can be read twice."""
    with suppress(AttributeError, OSError):  # a file need not know its size
        _check(file.size)
    if _is_seekable(file):
        if isinstance(file.read(0), bytes):
            return file
        file.seek(0)
    copy = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
    while chunk := file.read(File.DEFAULT_CHUNK_SIZE):
        copy.write(chunk.encode("utf-8", "backslashreplace") if isinstance(chunk, str) else chunk)
        _check(copy.tell())
    return File(copy)


def _is_seekable(file: File[Any]) -> bool:
    try:
        return file.seekable()
    except AttributeError:  # something that can only be read
        return False


def _measured(file: File[Any]) -> tuple[int, str]:
    """Return how many bytes the file has, and their hash. No more is read than may be stored."""
    size, digest = 0, hashlib.sha256()
    for chunk in file.chunks():
        size += len(chunk)
        _check(size)
        digest.update(chunk)
    return size, digest.hexdigest()


def _check(size: int) -> None:
    if size > (limit := settings.FILE_BYTES):
        raise ValueError(f"The file is larger than the {limit:,} bytes that a job may add (FILE_BYTES).")


def _stored(alias: str, file: File[Any], size: int) -> str:
    storage, key = storages[alias], files.new_key()
    try:
        file.seek(0)
        key = files.as_chosen(storage.save(key, File(file)))  # a temporary upload would be moved away, no plain file
        with suppress(NotImplementedError):  # a storage need not know sizes
            if storage.size(key) != size:
                raise ValueError("The file was changed while it was stored.")
    except BaseException:  # also for an abort: a part of a file is of no use
        files.discard_stored(alias, key)
        raise
    return key
