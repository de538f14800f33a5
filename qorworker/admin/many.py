"""One verb for many rows of a list: count, ask, perform each, and report which were left alone and why. Web."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from time import monotonic
from typing import Any

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import BadRequest, ObjectDoesNotExist
from django.http import HttpRequest, HttpResponseBase
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker.admin import rendering, tokens
from qorworker.admin.display import qw_capped
from qorworker.admin.media import FORM_MEDIA, MEDIA
from qorworker.admin.parameters import number
from qorworker.admin.verbs import MATCHED, NothingNew, Verb
from qorworker.exceptions import AlreadyEnqueued, QorWorkerError, TooManyJobs
from qorworker.queries import counting

AT_ONCE = 500  # rows processed together, and the most that can be chosen one by one
BUDGET = 10.0  # seconds after which one request goes no further through all that match
SHOWN = 20


Action = Callable[[Any, HttpRequest, Any], HttpResponseBase | None]  # of a ModelAdmin, for a queryset


class NumberedActions:
    """A base for a ``ModelAdmin`` whose actions identify rows by number; anything else is a bad request."""

    def response_action(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if any(number(chosen) is None for chosen in request.POST.getlist(ACTION_CHECKBOX_NAME)):
            raise BadRequest("A row is chosen by its number.")
        return super().response_action(request, *args, **kwargs)  # type: ignore[misc]


class Many(ABC):
    """One verb for the chosen rows, or for all that match. A subclass adds what is special to jobs or schedules."""

    model: Any

    def __init__(self, model_admin: Any, request: HttpRequest, verb: Verb) -> None:
        self.model_admin, self.request, self.verb = model_admin, request, verb
        self.is_confirmed = "confirmed" in request.POST
        self.form = self.new_form(request.POST if self.is_confirmed else None)

    @classmethod
    def action(cls, name: str, verb: Verb) -> Action:
        """Return the verb as an action of a ``ModelAdmin``, under *name*."""

        def act(model_admin: Any, request: HttpRequest, queryset: Any) -> HttpResponseBase | None:
            return cls(model_admin, request, verb).answer(queryset)

        act.__name__ = name
        act.short_description = verb.bulk  # type: ignore[attr-defined]
        return act

    # For subclasses

    @abstractmethod
    def numbered(self, chosen: Collection[int]) -> Any:
        """Return the rows with these numbers that the user may see."""

    @abstractmethod
    def allowed(self, row: Any) -> bool:
        """Return whether the user may do it with *row*."""

    @abstractmethod
    def state(self, row: Any) -> str:
        """Say in a word why *row* may be left alone, such as its status."""

    @abstractmethod
    def shown(self, row: Any) -> SafeString:
        """Return *row* as HTML for the list of those that fit."""

    @abstractmethod
    def deny(self, row: Any) -> None:
        """Record that the user tried to do it with *row* without permission."""

    @abstractmethod
    def why_not(self, row: Any, error: QorWorkerError) -> str:
        """Say in a word why *row* was left alone for which the verb raised *error*."""

    def perform(self, rows: Sequence[Any], left: Counter[str]) -> int:
        """Do it, and return for how many rows it worked. *left* counts the others by reason."""
        return sum(self._one(row, left) for row in rows)

    def new_form(self, data: Any) -> Any:
        """Return the form that is part of the question, unbound if *data* is None; None if there is no form."""
        return None

    def questions(self, rows: Sequence[Any]) -> list[str]:
        """Return what the job types of *rows* want confirmed; empty if there is nothing."""
        return []

    def warning(self, rows: Sequence[Any]) -> str:
        """Return what the user should know before confirming it for *rows*, those that fit."""
        return str(self.verb.warning)

    def set_apart(self, rows: Sequence[Any]) -> tuple[list[str], Sequence[Any]]:
        """Return sentences about some of the *rows* that are left alone, and the other rows."""
        return [], rows

    # Answering a request

    def answer(self, queryset: Any) -> HttpResponseBase | None:
        """Carry out the action on *queryset*: ask first, and return None once it is done, so that the list is shown."""
        if self.is_confirmed and "qw-newest" in self.request.POST:
            return self._all(queryset)
        chosen: set[int] = set()
        if self.is_confirmed:
            # These were confirmed, including those that have left the tab since.
            numbers = map(number, self.request.POST.getlist(ACTION_CHECKBOX_NAME))
            chosen = {pk for pk in numbers if pk is not None}
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
        """Go through all rows that match and existed when the question was asked, the newest first."""
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
        """Return the rows for which the verb makes sense and is allowed, and those that lack only the right."""
        sensible = [row for row in rows if self.verb.offered(row)]
        denied = [row for row in sensible if not self.allowed(row)]
        refused = {row.pk for row in denied}
        return [row for row in sensible if row.pk not in refused], denied

    def _others(self, rows: Sequence[Any], *apart: Sequence[Any]) -> list[Any]:
        numbers = {row.pk for some in apart for row in some}
        return [row for row in rows if row.pk not in numbers]

    def _do(self, rows: Sequence[Any], fitting: Sequence[Any], denied: Sequence[Any], left: Counter[str]) -> int:
        for row in denied:
            self.deny(row)
        left.update(self.state(row) for row in self._others(rows, fitting, denied))
        left[_("not allowed")] += len(denied)
        return self.perform(fitting, left)

    def _one(self, row: Any, left: Counter[str]) -> int:
        """Return how many rows were done: 1, or 0 for one that changed in the meantime."""
        try:
            self.verb.perform(self.request, row, self.form)
        except NothingNew as nothing:
            left[str(nothing.reason)] += 1
        except AlreadyEnqueued:
            left[str(MATCHED)] += 1
        except TooManyJobs:
            left[_("you have as many unfinished jobs as are allowed")] += 1
        except QorWorkerError as error:
            left[self.why_not(row, error)] += 1
        except ObjectDoesNotExist:
            left[_("deleted meanwhile")] += 1
        else:
            return 1
        return 0

    def _confirm(
        self, rows: Sequence[Any], fitting: Sequence[Any], denied: Sequence[Any], matching: int
    ) -> HttpResponseBase:
        """Return the page that asks; *matching* is the number of rows that match if there are more than *rows*."""
        numbers = {"verb": self.verb.label, "fitting": len(fitting), "all": len(rows)}
        lead = _("%(verb)s %(fitting)d of %(all)d.") % numbers
        left = [*self._left_alone(self._others(rows, fitting, denied)), *_not_allowed(denied)]
        if matching:
            lead = _("%(verb)s all that fit, of %(all)s.") % {**numbers, "all": qw_capped(matching)}
            left = [_("They are processed one by one; what does not qualify is skipped and counted.")]
        status = 422 if self.form is not None and self.form.is_bound else 200
        return rendering.page(
            self.request,
            "bulk.html",
            self.model._meta,
            title=str(self.verb.bulk).removesuffix("…"),
            lead=lead,
            media=FORM_MEDIA + MEDIA + self.form.media if self.form is not None else MEDIA,
            verb=self.verb,
            form=self.form,
            rows=rows[:1] if matching else rows,
            newest=self.model_admin.get_queryset(self.request).order_by("-pk").values_list("pk", flat=True).first(),
            fitting=fitting,
            shown=[self.shown(row) for row in fitting[:SHOWN]],
            has_more=len(fitting) > SHOWN,
            is_all=bool(matching),
            left=left,
            warning=self.warning(fitting),
            questions=self.questions(fitting),
            checkbox=ACTION_CHECKBOX_NAME,
            action=self.request.POST.get("action", ""),
            token=tokens.new_token(self.request.user),
            asked=self.request.POST.get("qw-asked", ""),
            status=status,
        )

    def _left_alone(self, rows: Sequence[Any]) -> list[str]:
        """Return a sentence for each reason for which rows will not be touched."""
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
        # Translators: a sentence with its full stop.
        sentences = [_("%s.") % (self.verb.plural % done)] if done else [_("Nothing was changed.")]
        if many:
            why = ", ".join(f"{count} {reason}" if len(left) > 1 else reason for reason, count in sorted(left.items()))
            text = ngettext("%(number)d was left alone: %(why)s.", "%(number)d were left alone: %(why)s.", many)
            sentences.append(text % {"number": many, "why": why})
        if not_reached:
            sentences.append(_("Time ran out: %s more were not processed. Select them again.") % qw_capped(not_reached))
        is_whole = done and not many and not not_reached
        messages.add_message(self.request, messages.SUCCESS if is_whole else messages.WARNING, " ".join(sentences))


def _not_allowed(denied: Sequence[Any]) -> list[str]:
    text = ngettext(
        "You may not do this with %d of them; it will be left alone.",
        "You may not do this with %d of them; they will be left alone.",
        len(denied),
    )
    return [text % len(denied)] if denied else []
