"""Uploaded arguments: their way into a Django storage, under a random name, and back. All processes."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from django import forms
from django.core.exceptions import ImproperlyConfigured, SuspiciousOperation, ValidationError
from django.core.files import File
from django.core.files.storage import FileSystemStorage, InvalidStorageError, Storage, storages
from django.core.files.uploadedfile import UploadedFile
from django.utils.translation import gettext as _

from qorworker.conf import settings
from qorworker.text.documentation import see

logger = logging.getLogger(__name__)

FOLDER = "qorworker/"
TAG = "$file"
TOKEN = re.compile(r"[0-9a-f]{32}(_\w{1,20})?", re.ASCII)  # a storage may extend a taken name
KEY = re.compile(FOLDER + r"[0-9a-f]{4}/" + TOKEN.pattern, re.ASCII)
UNAVAILABLE = "unavailable"  # the code of an error that may pass
GONE = "gone_file"  # the code of one that does not
KEPT = {TAG, "storage", "name", "size", "sha256", "content_type"}
_UNKNOWN = forms.FileField()  # for a job type that is gone: the random name of an upload must be enough


def keep(file: File[Any]) -> dict[str, Any]:
    """Store *file*, and return what the job keeps of it. Its original name is for display only."""
    digest = hashlib.sha256()
    file.seek(0)
    for chunk in file.chunks():
        digest.update(chunk if isinstance(chunk, bytes) else chunk.encode())
    file.seek(0)
    size, alias = file.size, settings.UPLOAD_STORAGE
    key = as_chosen(storages[alias].save(new_key(), file))
    return {
        TAG: key,
        "storage": alias,
        "name": display_name(file.name or ""),
        "size": size,
        "sha256": digest.hexdigest(),
        "content_type": str(getattr(file, "content_type", "") or "")[:100],
    }


def new_key() -> str:
    """Return a random name for a file in the storage."""
    return f"{FOLDER}{secrets.token_hex(2)}/{secrets.token_hex(16)}"


def as_chosen(key: str) -> str:
    """Return *key*, under which a storage has stored a file.

    :raises django.core.exceptions.ImproperlyConfigured: if the storage has chosen another folder or name: no such file
        is ever opened or deleted.
    """
    if not _is_key(key):
        raise ImproperlyConfigured(
            f"The storage {settings.UPLOAD_STORAGE!r} keeps files under names of its own, such as {key!r}: "
            f"QORWORKER['UPLOAD_STORAGE'] needs one that keeps the names that it is given."
        )
    return key


def problems(uploads: Mapping[str, File[Any]]) -> dict[str, list[str]]:
    """Return why files cannot be stored, by name; empty if nothing is known that prevents it."""
    if relative_location() == "":  # they would land in the folder where this process started
        text = _("Uploads have no folder on this site. Its MEDIA_ROOT must be set.")
        return {name: [text] for name in uploads}
    return {name: [_("This file is closed.")] for name, file in uploads.items() if _is_closed(file)}


def _is_closed(file: File[Any]) -> bool:
    """Return whether a file cannot be read any more. The file of a model's field opens itself."""
    try:
        file.seek(0)
    except ValueError as error:
        return not isinstance(error, io.UnsupportedOperation)  # which says that a stream has no beginning to go to
    return False


def keep_all(values: Mapping[str, Any], fields: Mapping[str, forms.Field]) -> dict[str, Any]:
    """Store the files among *values* and return what the table keeps; if one cannot be stored, none stays."""
    kept: dict[str, Any] = {}
    try:
        for name, value in values.items():
            kept[name] = keep(value) if isinstance(value, File) else value
    except BaseException:
        discard(kept, fields)
        raise
    return kept


def close_all(values: Mapping[str, Any]) -> None:
    """Close the files among *values*."""
    for value in values.values():
        if isinstance(value, File):
            value.close()


def relative_location() -> str | None:
    """Return the folder of uploads if it depends on where a process was started, else None. Empty: none is set."""
    storage = storages[settings.UPLOAD_STORAGE]
    if not isinstance(storage, FileSystemStorage):
        return None
    folder = str(storage.base_location)
    return None if os.path.isabs(folder) else folder


def display_name(name: str) -> str:
    base = os.path.basename(name.replace("\\", "/"))
    shown = "".join(character for character in base if character.isprintable())[-200:]
    return "file" if shown in ("", ".", "..") else shown  # Django opens no file with such a name


def fetch(stored: Any) -> UploadedFile[Any]:
    """Return the file that ``keep`` stored, open for reading.

    :raises django.core.exceptions.ValidationError: if it is gone or was changed, or if the storage does not answer.
    """
    if not isinstance(stored, Mapping) or not _is_key(stored.get(TAG)):
        raise ValidationError(_("This is not a stored file."), code="wrong_type")
    name = str(stored.get("name", ""))
    try:
        storage, key = _storage(stored)
        file = storage.open(key)
        size = file.size
    except (FileNotFoundError, SuspiciousOperation, InvalidStorageError):
        raise ValidationError(_("The uploaded file “%(name)s” is gone.") % {"name": name}, code=GONE) from None
    except Exception as error:  # clients of remote storages raise errors of their own
        text = _("The storage did not return the uploaded file “%(name)s” (%(error)s). It may do so later.")
        raise ValidationError(text % {"name": name, "error": type(error).__name__}, code=UNAVAILABLE) from error
    if size != stored.get("size"):
        file.close()
        raise ValidationError(_("The uploaded file “%(name)s” was changed.") % {"name": name}, code="changed")
    return UploadedFile(file, name=name, content_type=str(stored.get("content_type", "")), size=size)


def advice() -> str:
    """Return what an operator can do about a file that is gone here although nobody has deleted it."""
    storage = storages[settings.UPLOAD_STORAGE]
    place = getattr(storage, "location", "") or type(storage).__name__
    return f"Site and workers have to share the storage of uploads, which is {place} here. {see('howto/uploads.md')}"


def discard(arguments: Mapping[str, Any], form_fields: Mapping[str, forms.Field]) -> None:
    """Delete the uploads in *arguments*, which no job will use any more.

    Values of other kinds may have the same shape: text that a user typed must never name a file to delete. Of an
    argument without a field, only files in the storage of today's settings are deleted, under a name that ``keep``
    chose.
    """
    for name, stored in arguments.items():
        is_file = isinstance(form_fields.get(name, _UNKNOWN), forms.FileField) and _is_upload(stored)
        if is_file and (name in form_fields or stored["storage"] == settings.UPLOAD_STORAGE):
            storage, key = _storage(stored)
            storage.delete(key)


def discard_stored(alias: str, key: str) -> None:
    """Delete a file from the storage *alias*; a failure is logged. ``prunejobs`` finds what stays there."""
    try:
        if _is_key(key):
            storages[alias].delete(key)
    except Exception:  # clients of remote storages raise errors of their own
        logger.exception("The file %s could not be deleted from the storage %s.", key, alias)


def token_of(key: str) -> str:
    """Return the random part of the key of a file."""
    return key.rpartition("/")[2]


def unused(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the arguments *before* that *after* does not have. A file may have another name there."""
    kept = keys(after)
    return {
        name: value
        for name, value in before.items()
        if after.get(name) != value and not (_is_upload(value) and value[TAG] in kept)
    }


def keys(arguments: Mapping[str, Any]) -> set[str]:
    """Return the keys of all values that have the shape of an upload, even of one that belongs to a schedule."""
    return {str(stored[TAG]) for stored in arguments.values() if isinstance(stored, Mapping) and TAG in stored}


def stored(storage: Storage) -> Iterator[str]:
    """Yield the keys of all uploads in *storage*; none if it cannot list them."""
    try:
        folders, _files = storage.listdir(FOLDER)
    except FileNotFoundError:
        return
    except NotImplementedError:
        logger.info("%s cannot list its files, so uploads without a job stay there.", type(storage).__name__)
        return
    for folder in folders:
        names = storage.listdir(f"{FOLDER}{folder}")[1]
        yield from (key for key in (f"{FOLDER}{folder}/{name}" for name in names) if _is_key(key))


def lend(arguments: Mapping[str, Any], owner: int) -> dict[str, Any]:
    """Return *arguments* for a job whose uploads belong to schedule *owner*: ``discard`` leaves them alone."""
    return {name: {**value, "owner": owner} if _is_upload(value) else value for name, value in arguments.items()}


def is_kept(stored: Any) -> bool:
    """Return whether *stored* has the form of what ``keep`` returns, and is in the storage of today's settings."""
    if not _is_upload(stored) or stored["storage"] != settings.UPLOAD_STORAGE:
        return False
    size = stored["size"]
    is_size = isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 2**63
    return is_size and all(isinstance(stored[name], str) for name in ("name", "sha256", "content_type"))


def _is_upload(stored: Any) -> bool:
    return isinstance(stored, Mapping) and set(stored) == KEPT and _is_key(stored[TAG])


def _is_key(key: Any) -> bool:
    """Return whether ``keep`` may have chosen this name. It never chooses a name that leads to another folder."""
    return isinstance(key, str) and KEY.fullmatch(key) is not None


def _storage(stored: Mapping[str, Any]) -> tuple[Storage, str]:
    return storages[str(stored.get("storage", ""))], str(stored[TAG])
