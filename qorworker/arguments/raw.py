"""Arguments as a form or JSON sends them: texts, numbers, primary keys. All processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.datastructures import MultiValueDict

from qorworker.arguments.definition import CSRF


def by_name(sent: Any) -> dict[str, Any]:
    """Return what was sent as arguments by name, for a form to clean.

    :param sent: a mapping; in a ``QueryDict`` several values of one name become a list, and the CSRF token
        is left out.
    :raises TypeError: if it is no mapping.
    """
    if isinstance(sent, MultiValueDict):
        return {name: values[0] if len(values) == 1 else values for name, values in sent.lists() if name != CSRF}
    if not isinstance(sent, Mapping):
        raise TypeError(f"The arguments of a job must be a mapping, not {type(sent).__name__}.")
    return dict(sent)
