"""How classes of exceptions, and the other ways to fail, are named on pages and looked for in the list. Web."""

from __future__ import annotations

from django.utils.translation import gettext as _

from qorworker.models.summary import OTHERS
from qorworker.status import Outcome
from qorworker.text.cleaning import visible


def error_name(stored: str) -> str:
    """Return the name of what the summaries count: "KeyError", or "Time limit"."""
    if stored in Outcome.values:
        return str(Outcome(stored).label)
    return _("Other errors") if stored == OTHERS else visible(stored.rpartition(".")[2])


def search_of(stored: str) -> str:
    """Return the search for failed jobs with that error; empty if it has no name in their error."""
    name = stored.rpartition(".")[2]
    return f"error:{name}" if "." in stored and name.isidentifier() else ""
