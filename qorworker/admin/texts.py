"""The sentences that several pages share, and those of their scripts. Web."""

from __future__ import annotations

from django.utils.translation import gettext_lazy

BROKEN = gettext_lazy("The definition of this job has an error: see “manage.py check”.")
# Of all pages. A page gives what only its own scripts say to its template as ``texts``.
IN_SCRIPTS = {
    "paused": gettext_lazy("Updates paused: the server does not answer. Trying again in {} s."),
    "retry": gettext_lazy("Retry now"),
    "signedOut": gettext_lazy("You were signed out."),
    "signIn": gettext_lazy("Sign in again"),
    "gone": gettext_lazy("This page can no longer be shown to you."),
    "reload": gettext_lazy("Reload"),
    "deleted": gettext_lazy("Deleted"),
    "back": gettext_lazy("Back"),
    "help": gettext_lazy("Show this help"),
    "search": gettext_lazy("Search"),
    "refresh": gettext_lazy("Refresh now"),
    "toggle": gettext_lazy("Live updates on or off"),
}
