"""The rule for the options ``after`` and ``after_failure`` of ``using``. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args

Policy = Literal["cancel", "run", "wait"]
POLICIES = get_args(Policy)
MOST_PARENTS = 1_000
LARGEST = 2**63 - 1  # id that a database can store


def policy_problem(value: Any) -> str:
    """Return what is wrong with a value of ``after_failure``; empty if nothing is."""
    return "" if value is None or value in POLICIES else f"must be one of {', '.join(map(repr, POLICIES))}"


def parents_in(value: Any) -> tuple[Any, ...]:
    """Return the jobs and ids in a value of ``after``: one of them, or several.

    :raises ValueError: for anything else, for a job that is not stored, and for too many.
    """
    if value is None:
        return ()
    parents = tuple(value) if isinstance(value, Iterable) and not isinstance(value, (str, bytes)) else (value,)
    if len(parents) > MOST_PARENTS:
        raise ValueError(f"after: a job can wait for {MOST_PARENTS} jobs, not for {len(parents)}.")
    for parent in parents:
        if _is_job(parent) and parent.pk is None:
            raise ValueError("after: the job is not stored.")
        pk = _id_of(parent)
        if not isinstance(pk, int) or isinstance(pk, bool) or not 0 < pk <= LARGEST:
            raise ValueError(f"after: must be a job, the id of one, or several of them, not {parent!r}.")
    return parents


def ids_of(parents: Iterable[Any], using: str) -> list[int]:
    """Return the ids of *parents*, each once.

    :raises ValueError: if one of them is a job of another database than *using*.
    """
    for parent in parents:
        if _is_job(parent) and parent._state.db not in (None, using):
            other = parent._state.db
            raise ValueError(f"after: job #{parent.pk} is in the database {other!r}, and the new one in {using!r}.")
    return list(dict.fromkeys(map(_id_of, parents)))


def _is_job(value: Any) -> bool:
    meta = getattr(value, "_meta", None)  # the models stand above the definitions
    return getattr(meta, "label_lower", "") == "qorworker.job"


def _id_of(value: Any) -> Any:
    return value.pk if _is_job(value) else value
