"""Versions of a job type: which stored jobs its code can run, and how older arguments become those of today.

All processes.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, InterfaceError
from django.utils.translation import gettext as _

from qorworker.exceptions import InvalidArguments

if TYPE_CHECKING:
    from qorworker.definitions.job_type import JobType

FIRST, LAST = 1, 32_767


def upgrade_problem(value: Any) -> str:
    """Return what is wrong with a value of ``upgrade``; empty if it is valid."""
    if value is None or (callable(value) and not inspect.iscoroutinefunction(value)):
        return ""
    return "must be a plain callable (arguments, version) that returns a dict"


def upgraded(job_type: JobType[..., Any], stored: Mapping[str, Any], version: int) -> Mapping[str, Any]:
    """Return stored arguments as the code of today takes them: those of an older version pass through ``upgrade``.

    :param version: that of the job type when they were stored.
    :raises qorworker.exceptions.InvalidArguments: if ``upgrade`` fails, or returns no JSON object, or if newer code
        stored them: what they mean there, this code cannot know.
    """
    if version == job_type.version:
        return stored
    check_known(job_type, version)
    if (upgrade := job_type.options.upgrade) is None:
        return stored
    try:
        made = upgrade(copy.deepcopy(dict(stored)), version)
        if not isinstance(made, Mapping):
            raise TypeError(f"“upgrade” must return a dict, not {type(made).__name__}.")
        json.dumps(made, allow_nan=False)
    except (DatabaseError, InterfaceError):
        raise
    except (Exception, SystemExit) as error:  # code of the project
        raise _failure(job_type, version, f"{type(error).__name__}: {error}") from error
    return dict(made)


def check_known(job_type: JobType[..., Any], version: int) -> None:
    """Raise ``InvalidArguments`` if *version* is newer than this code."""
    if version > job_type.version:
        raise _failure(job_type, version, f"This code has version {job_type.version}.")


def _failure(job_type: JobType[..., Any], version: int, error: str) -> InvalidArguments:
    text = _("The arguments of version %(version)s could not be upgraded: %(error)s")
    return InvalidArguments(job_type.name, {"__all__": [text % {"version": version, "error": error}]})


def label(name: str, version: int) -> str:
    """Return a text that stands for a version of the type *name* above the first, in statements and rows."""
    return f"{version} {name}"


def labels(job_types: Mapping[str, JobType[..., Any]]) -> list[str]:
    """Return the labels of all versions above the first whose jobs the code of these types can run."""
    return [
        label(name, version)
        for name, job_type in sorted(job_types.items())
        for version in range(FIRST + 1, job_type.version + 1)
    ]
