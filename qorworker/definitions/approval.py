"""Which runs need the approval of another user, and what exactly is approved. All processes."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from types import CodeType
from typing import TYPE_CHECKING, Any

from django.core.serializers.json import DjangoJSONEncoder
from django.utils.translation import gettext as _

from qorworker.exceptions import InvalidArguments

if TYPE_CHECKING:
    from qorworker.definitions.job_type import JobType

PERMISSION = re.compile(r"[^\s.]{1,100}\.[^\s.]{1,100}")  # of Django: “app.codename”


def problem_of(value: Any) -> str:
    """Return what is wrong with a value of ``approval``; empty if it is valid."""
    if value is None or (isinstance(value, str) and PERMISSION.fullmatch(value)):
        return ""
    if callable(value) and not inspect.iscoroutinefunction(value):
        return ""
    return "must be “app.codename” or a plain callable (user, job_type, arguments)"


def right_for(job_type: JobType[..., Any], user: Any, stored: Mapping[str, Any]) -> str:
    """Return the permission that somebody needs to approve a run; empty if it needs no approval.

    :param user: the user who asks for the run; None for code.
    :param stored: the arguments as the table stores them.
    :raises qorworker.exceptions.InvalidArguments: if the callable of the type fails, or returns anything else.
    :raises qorworker.exceptions.SecretsUnavailable: if a secret cannot be decrypted.
    """
    rule = job_type.options.approval
    if not callable(rule):
        return rule or ""
    failure = _("Whether this job needs an approval could not be decided: %s")
    right = job_type.arguments.ask(partial(rule, user, job_type), stored, failure)
    if right is not None and not (isinstance(right, str) and PERMISSION.fullmatch(right)):
        problem = f"the callable must return “app.codename” or None, not {right!r}"
        raise InvalidArguments(job_type.name, {"__all__": [failure % problem]})
    return right or ""


def digest_of(job_type: JobType[..., Any], stored: Mapping[str, Any]) -> str:
    """Return what an approval is for: the job type, its arguments, and the code that runs with them.

    :param stored: the arguments as the table stores them.
    """
    parts = (job_type.name, job_type.arguments.fingerprint, job_type.code_digest, _plain(stored))
    text = json.dumps(parts, sort_keys=True, cls=DjangoJSONEncoder)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def code_digest(function: Callable[..., Any]) -> str:
    """Return a digest of the text of a handler and its decorators, or of its byte code where no text is to be had.

    What it calls is not part of it. To be called when the module is imported: the file may be replaced later.
    """
    try:
        text = inspect.getsource(inspect.unwrap(function))
    except (OSError, TypeError):
        text = _byte_code(inspect.unwrap(function).__code__)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _byte_code(value: Any) -> str:
    """Return byte code, or a constant in it, as a text that is the same in every process: sets have no order."""
    if isinstance(value, CodeType):
        return repr((value.co_code, value.co_names, [_byte_code(each) for each in value.co_consts]))
    if isinstance(value, tuple):
        return repr([_byte_code(each) for each in value])
    return repr(sorted(map(_byte_code, value))) if isinstance(value, frozenset) else repr(value)


def _plain(value: Any) -> Any:
    """Return *value* so that it is the same before and after a database has kept it as JSON.

    PostgreSQL keeps the digits of a number, and returns 1e23 as a whole number: not as the one that ``int(1e23)`` is.
    """
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return int(Decimal(repr(value))) if isinstance(value, float) and value.is_integer() else value
