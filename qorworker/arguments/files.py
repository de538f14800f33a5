"""Uploaded arguments: into a Django storage under a name that tells nothing, and out of it again. All processes."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from django import forms
from django.core.exceptions import SuspiciousOperation, ValidationError
from django.core.files import File
from django.core.files.storage import InvalidStorageError, Storage, storages
from django.core.files.uploadedfile import UploadedFile
from django.utils.translation import gettext as _

from qorworker.conf import settings

FOLDER = "qorworker/"
TAG = "$file"
KEPT = {TAG, "storage", "name", "size", "sha256", "content_type"}
_UNKNOWN = forms.FileField()  # of a type that is gone: the random name of an upload has to be enough


def keep(file: File[Any]) -> dict[str, Any]:
    """Store *file*; what the job remembers of it. The name that it came with is for display only."""
    digest = hashlib.sha256()
    file.seek(0)
    for chunk in file.chunks():
        digest.update(chunk if isinstance(chunk, bytes) else chunk.encode())
    file.seek(0)
    size, alias = file.size, settings.UPLOAD_STORAGE
    key = storages[alias].save(f"{FOLDER}{secrets.token_hex(2)}/{secrets.token_hex(16)}", file)
    return {
        TAG: key,
        "storage": alias,
        "name": display_name(file.name or ""),
        "size": size,
        "sha256": digest.hexdigest(),
        "content_type": str(getattr(file, "content_type", "") or "")[:100],
    }


def display_name(name: str) -> str:
    base = os.path.basename(name.replace("\\", "/"))
    return "".join(character for character in base if character.isprintable())[-200:] or "file"


def fetch(stored: Any) -> UploadedFile[Any]:
    """The file that ``keep`` stored, open for reading. Raises ``ValidationError`` if it is gone or was changed."""
    if not isinstance(stored, Mapping) or not str(stored.get(TAG, "")).startswith(FOLDER):
        raise ValidationError(_("This is not a stored file."), code="wrong_type")
    name = str(stored.get("name", ""))
    try:
        storage, key = _storage(stored)
        file = storage.open(key)
        size = file.size
    except (OSError, SuspiciousOperation, InvalidStorageError):
        raise ValidationError(_("The uploaded file “%(name)s” is gone.") % {"name": name}, code="gone") from None
    if size != stored.get("size"):
        file.close()
        raise ValidationError(_("The uploaded file “%(name)s” was changed.") % {"name": name}, code="changed")
    return UploadedFile(file, name=name, content_type=str(stored.get("content_type", "")), size=size)


def discard(arguments: Mapping[str, Any], known: Mapping[str, forms.Field]) -> None:
    """Delete the uploads of stored arguments that no job will use any more.

    An argument of any other kind may look like one: what people typed must never name a file to delete.
    """
    for name, stored in arguments.items():
        if isinstance(known.get(name, _UNKNOWN), forms.FileField) and _is_upload(stored):
            storage, key = _storage(stored)
            storage.delete(key)


def unused(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What of the arguments *before* is no more in those *after*."""
    return {name: value for name, value in before.items() if after.get(name) != value}


def keys(arguments: Mapping[str, Any]) -> set[str]:
    """The keys in the storage of all that looks like an upload, also of one that is lent."""
    return {str(stored[TAG]) for stored in arguments.values() if isinstance(stored, Mapping) and TAG in stored}


def stored(storage: Storage) -> Iterator[str]:
    """The keys of all uploads in *storage*."""
    try:
        folders, _files = storage.listdir(FOLDER)
    except FileNotFoundError:
        return
    for folder in folders:
        yield from (f"{FOLDER}{folder}/{name}" for name in storage.listdir(f"{FOLDER}{folder}")[1])


def lend(arguments: Mapping[str, Any], owner: int) -> dict[str, Any]:
    """*arguments* for a job whose uploads belong to schedule number *owner*: ``discard`` leaves them alone."""
    return {name: {**value, "owner": owner} if _is_upload(value) else value for name, value in arguments.items()}


def _is_upload(stored: Any) -> bool:
    return isinstance(stored, Mapping) and set(stored) == KEPT and str(stored[TAG]).startswith(FOLDER)


def _storage(stored: Mapping[str, Any]) -> tuple[Storage, str]:
    return storages[str(stored.get("storage", ""))], str(stored[TAG])
