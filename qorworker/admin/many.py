"""One verb for many rows of a list: count first, ask, then do each and say honestly what was left alone. Web."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from time import monotonic
from typing import Any

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker.admin import once
from qorworker.admin.asked import number
from qorworker.admin.media import FORM_MEDIA, MEDIA
from qorworker.models import counting
from qorworker.templatetags.qorworker_admin import qw_capped

AT_ONCE = 500  # rows that are looked at together; more than that are never chosen one by one
BUDGET = 10.0  # seconds after which one request goes no further through all that match
SHOWN = 20


Action = Callable[[Any, HttpRequest, Any], HttpResponseBase | None]  # of a ModelAdmin, for a queryset


class NumberedActions:
    """For a ``ModelAdmin`` whose actions name their rows: anything but a number is no row."""

    def response_action(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if any(number(chosen) is None for chosen in request.POST.getlist(ACTION_CHECKBOX_NAME)):
            raise BadRequest("A row is chosen by its number.")
        return super().response_action(request, *args, **kwargs)  # type: ignore[misc]


class Many(ABC):
    """A verb for the chosen rows, or for all that match. What is special to jobs or schedules is up to a subclass."""

    model: Any

    def __init__(self, model_admin: Any, request: HttpRequest, verb: Any) -> None:
        self.model_admin, self.request, self.verb = model_admin, request, verb
        self.is_confirmed = "confirmed" in request.POST
        self.form = self.new_form(request.POST if self.is_confirmed else None)

    @classmethod
    def action(cls, name: str, verb: Any) -> Action:
        """The verb as an action of a ``ModelAdmin``."""

        def act(model_admin: Any, request: HttpRequest, queryset: Any) -> HttpResponseBase | None:
            return cls(model_admin, request, verb).answer(queryset)

        act.__name__ = name
        act.short_description = verb.bulk  # type: ignore[attr-defined]
        return act

    # What is theirs.

    @abstractmethod
    def numbered(self, chosen: Collection[int]) -> Any:
        """The rows with these numbers that the user may see."""

    @abstractmethod
    def allowed(self, row: Any) -> bool: ...

    @abstractmethod
    def state(self, row: Any) -> str:
        """Why a row may be left alone, in a word."""

    @abstractmethod
    def shown(self, row: Any) -> SafeString: ...

    @abstractmethod
    def deny(self, row: Any) -> None:
        """Write down that somebody tried."""

    @abstractmethod
    def perform(self, rows: Sequence[Any], left: Counter[str]) -> int:
        """Do it; for how many it worked. *left* counts the others by why."""

    def new_form(self, data: Any) -> Any:
        """What is asked beside the question; None if nothing is."""
        return None

    def questions(self, rows: Sequence[Any]) -> list[str]:
        return []

    def warning(self, rows: Sequence[Any]) -> str:
        """What to know before, about those that fit."""
        return str(self.verb.warning)

    def set_apart(self, rows: Sequence[Any]) -> tuple[list[str], Sequence[Any]]:
        """Of the rows that are left alone: sentences about some, and the others."""
        return [], rows

    # The way of it.

    def answer(self, queryset: Any) -> HttpResponseBase | None:
        if self.is_confirmed and "qw-newest" in self.request.POST:
            return self._all(queryset)
        chosen: set[int] = set()
        if self.is_confirmed:
            # What was confirmed are these, also those that have left the tab since.
            told = map(number, self.request.POST.getlist(ACTION_CHECKBOX_NAME))
            chosen = {pk for pk in told if pk is not None}
            queryset = self.numbered(chosen)
        rows = list(queryset[: AT_ONCE + 1])
        is_all = len(rows) > AT_ONCE
        if is_all and (self.is_confirmed or self.request.POST.get("select_across") != "1"):
            text = _("At most %d can be chosen one by one. Narrow the list or select fewer. Nothing was changed.")
            messages.warning(self.request, text % AT_ONCE)
            return None
        fitting, denied = self.sorted_out(rows[:AT_ONCE])
        if not self.is_confirmed or not self._is_clear():
            return self._confirm(rows[:AT_ONCE], fitting, denied, counting.capped_count(queryset) if is_all else 0)
        left: Counter[str] = Counter()
        done = self._do(rows, fitting, denied, left)
        left[_("deleted meanwhile")] += len(chosen) - len(rows)
        self._tell(done, +left)
        return None

    def _all(self, queryset: Any) -> HttpResponseBase | None:
        """Go through all that match and were there when it was asked, the newest first."""
        newest = number(self.request.POST["qw-newest"])
        if newest is None:
            raise BadRequest("A row is named by its number.")
        rows = queryset.filter(pk__lte=newest).order_by("-pk")
        some = list(rows[:AT_ONCE])
        if not self._is_clear():
            return self._confirm(some, *self.sorted_out(some), counting.capped_count(rows))
        begun, done, left, last = monotonic(), 0, Counter[str](), 0
        while some and (not last or monotonic() - begun < BUDGET):
            done += self._do(some, *self.sorted_out(some), left)
            last = some[-1].pk
            some = list(rows.filter(pk__lt=last)[:AT_ONCE])
        self._tell(done, +left, counting.capped_count(rows.filter(pk__lt=last)) if some else 0)
        return None

    def _is_clear(self) -> bool:
        return self.form is None or self.form.is_valid()

    def sorted_out(self, rows: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Those for which the verb makes sense and is allowed; and those for which only the right is missing."""
        sensible = [row for row in rows if self.verb.offered(row)]
        denied = [row for row in sensible if not self.allowed(row)]
        refused = {row.pk for row in denied}
        return [row for row in sensible if row.pk not in refused], denied

    def _others(self, rows: Sequence[Any], *known: Sequence[Any]) -> list[Any]:
        numbers = {row.pk for some in known for row in some}
        return [row for row in rows if row.pk not in numbers]

    def _do(self, rows: Sequence[Any], fitting: Sequence[Any], denied: Sequence[Any], left: Counter[str]) -> int:
        for row in denied:
            self.deny(row)
        left.update(self.state(row) for row in self._others(rows, fitting, denied))
        left[_("not allowed")] += len(denied)
        return self.perform(fitting, left)

    def _confirm(
        self, rows: Sequence[Any], fitting: Sequence[Any], denied: Sequence[Any], matching: int
    ) -> HttpResponseBase:
        """The page that asks; *matching* is how many there are if they are more than *rows*."""
        told = {"verb": self.verb.label, "fitting": len(fitting), "all": len(rows)}
        lead = _("%(verb)s %(fitting)d of %(all)d.") % told
        left = [*self._left_alone(self._others(rows, fitting, denied)), *_not_allowed(denied)]
        if matching:
            lead = _("%(verb)s all that fit, of %(all)s.") % {**told, "all": qw_capped(matching)}
            left = [_("They are gone through one after the other; what does not fit is left alone and counted.")]
        context = {
            **self.model_admin.admin_site.each_context(self.request),
            "title": str(self.verb.bulk).removesuffix("…"),
            "lead": lead,
            "opts": self.model._meta,
            "media": FORM_MEDIA + MEDIA + self.form.media if self.form is not None else MEDIA,
            "verb": self.verb,
            "form": self.form,
            "rows": rows[:1] if matching else rows,
            "newest": self.model._default_manager.order_by("-pk").values_list("pk", flat=True).first(),
            "fitting": fitting,
            "shown": [self.shown(row) for row in fitting[:SHOWN]],
            "has_more": len(fitting) > SHOWN,
            "is_all": bool(matching),
            "left": left,
            "warning": self.warning(fitting),
            "questions": self.questions(fitting),
            "checkbox": ACTION_CHECKBOX_NAME,
            "action": self.request.POST.get("action", ""),
            "token": once.new_token(),
        }
        status = 422 if self.form is not None and self.form.is_bound else 200
        return TemplateResponse(self.request, "admin/qorworker/bulk.html", context, status=status)

    def _left_alone(self, rows: Sequence[Any]) -> list[str]:
        """A sentence for each reason for which rows will not be touched."""
        sentences, rows = self.set_apart(rows)
        by_state = Counter(self.state(row) for row in rows)
        if len(by_state) == 1:
            ((state, many),) = by_state.items()
            text = ngettext(
                "%(number)d is “%(status)s” and will be left alone.",
                "%(number)d are “%(status)s” and will be left alone.",
                many,
            )
            return [text % {"number": many, "status": state}, *sentences]
        if by_state:
            in_order = sorted(by_state.items(), key=lambda item: (-item[1], item[0]))
            each = ", ".join(f"{many} {state}" for state, many in in_order)
            text = _("%(number)d will be left alone: %(each)s.")
            return [text % {"number": by_state.total(), "each": each}, *sentences]
        return sentences

    def _tell(self, done: int, left: Counter[str], not_reached: int = 0) -> None:
        many = left.total()
        told = [(self.verb.plural % done) + "."] if done else [_("Nothing was changed.")]
        if many:
            why = ", ".join(f"{count} {reason}" if len(left) > 1 else reason for reason, count in sorted(left.items()))
            text = ngettext("%(number)d was left alone: %(why)s.", "%(number)d were left alone: %(why)s.", many)
            told.append(text % {"number": many, "why": why})
        if not_reached:
            told.append(_("%s more were not reached in time: choose them once more.") % qw_capped(not_reached))
        is_whole = done and not many and not not_reached
        messages.add_message(self.request, messages.SUCCESS if is_whole else messages.WARNING, " ".join(told))


def _not_allowed(denied: Sequence[Any]) -> list[str]:
    text = ngettext(
        "With %d you may not do this; it will be left alone.",
        "With %d you may not do this; they will be left alone.",
        len(denied),
    )
    return [text % len(denied)] if denied else []
