"""The box for the first page of an admin site: the two lines at the top of the dashboard, for a day. Web."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from qorworker.admin import links
from qorworker.admin.dashboard import page
from qorworker.admin.dashboard.choice import Choice
from qorworker.models import database_now
from qorworker.queries import dashboard as queries


def box(request: HttpRequest) -> dict[str, Any]:
    """Return what the template of the box shows, by four statements."""
    choice = Choice(request, usual_only=True)
    jobs = choice.visibility.jobs
    newest, now = queries.newest_ends(jobs.db, choice.scope), database_now(jobs.db)
    figures = queries.figures(jobs.db, choice.scope, choice.range, now, newest)
    present = queries.present(jobs, choice.visibility.schedules)
    return {
        "now": list(page.now_facts(choice, present)),
        "attention": list(page.attention(choice, present, figures, newest)),
        "url": links.url_if_there(request, "app_list", "qorworker"),
    }
