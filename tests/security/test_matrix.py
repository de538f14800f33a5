"""Every URL, every method, every role: the answer that ``matrix.py`` declares, and nothing changed by anybody else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from qorworker import pause_queue
from qorworker.models import AuditEntry
from tests.admin.support import a_worker, text_of
from tests.security.matrix import MATRIX, Row
from tests.security.people import ROLES, Visit, everything, visit
from tests.security.walk import path, routes

pytestmark = pytest.mark.once

OTHERS = ("PUT", "PATCH", "DELETE", "OPTIONS")


def test_every_url_has_a_row_in_the_matrix_and_every_row_a_url():
    assert sorted(routes()) == sorted(MATRIX), "declare in tests/security/matrix.py who gets what answer"


@pytest.fixture
def visits(types, db, settings):
    """One for each role, with a job in the state that a row is about."""
    worker = a_worker()

    def visits(row: Row) -> Iterator[tuple[Visit, int]]:
        if row.is_paused:
            worker.pause()
            pause_queue("reports")
        for place, role in enumerate(ROLES):
            yield visit(types, role, row.state, worker, settings, row.is_paused), place

    return visits


def subject(route: str, visitor: Visit) -> Any:
    """What a route is about."""
    subjects = {
        "worker": visitor.worker, "schedule": visitor.schedule, "batch": visitor.batch, "message": visitor.message,
        "messagerule": visitor.rule, "calendar": visitor.calendar,
    }  # fmt: skip
    return subjects.get(route.partition("/")[0], visitor.job)


def address(route: str, visitor: Visit) -> str:
    about = subject(route, visitor)
    name = MATRIX[route].name or visitor.job.name
    return path(route, pk=about.pk, object_id=about.pk, name=name, field="shop")


@pytest.mark.parametrize("route", MATRIX)
def test_every_role_gets_the_answer_that_is_declared(visits, route):
    row, wrong = MATRIX[route], []
    for visitor, place in visits(row):
        url = address(route, visitor)
        expected = {"GET": row.get, "HEAD": row.get, **dict.fromkeys(OTHERS, row.other), "POST": row.post}
        before = everything()
        for method, codes in expected.items():
            data = row.sent(subject(route, visitor).pk, visitor.job)
            answer = visitor.client.post(url, data) if method == "POST" else visitor.client.generic(method, url)
            if method == "HEAD":
                assert not b"".join(answer.streaming_content) if answer.streaming else not answer.content
            if str(answer.status_code) != codes.split()[place]:
                wrong.append(f"{visitor.role} {method}: {answer.status_code}, not {codes.split()[place]}")
            after = everything()
            changed, before = after != before, after
            if changed != (method == "POST" and visitor.role in row.changes.split()):
                wrong.append(f"{visitor.role} {method}: {'changed something' if changed else 'changed nothing'}")
    assert wrong == []


@pytest.mark.parametrize("route", MATRIX)
def test_whoever_is_no_staff_gets_nothing_whatever_their_rights(visits, route):
    row = MATRIX[route]
    visitor = {visitor.role: visitor for visitor, _place in visits(row)}["root"]
    get_user_model().objects.update(is_staff=False)
    url, before = address(route, visitor), everything()
    data = row.sent(subject(route, visitor).pk, visitor.job)
    for codes, answer in ((row.get, visitor.client.get(url)), (row.post, visitor.client.post(url, data))):
        is_for_scripts = codes.startswith("401")  # people get the page to sign in
        assert answer.status_code == (403 if is_for_scripts else 302)
    assert everything() == before


@pytest.mark.parametrize("route", MATRIX)
def test_no_cache_keeps_what_a_page_says(visits, route):
    for visitor, _place in visits(MATRIX[route]):
        for answer in (visitor.client.get(address(route, visitor)), visitor.client.post(address(route, visitor))):
            if answer.status_code != 404 or f">{visitor.role}<" in text_of(answer):  # Django's own page says nothing
                assert {"no-store", "private"} <= set(answer.get("Cache-Control", "").split(", ")), visitor.role


VERBS = [
    route
    for route, row in MATRIX.items()
    if row.changes and "403" in row.post and ("<int:pk>" in route or "/run/" in route)
]


@pytest.mark.parametrize("route", VERBS)
def test_who_is_refused_a_change_is_on_record(visits, route):
    row = MATRIX[route]
    refused = []
    for visitor, place in visits(row):
        visitor.client.post(address(route, visitor), row.sent(subject(route, visitor).pk, visitor.job))
        if row.post.split()[place] == "403":
            refused.append(visitor.role)
    denied = AuditEntry.objects.filter(outcome="denied").order_by("id")
    assert [entry.user_name for entry in denied] == refused != []


@pytest.mark.parametrize("route", [route for route, row in MATRIX.items() if "403" in row.post])
def test_whatever_refuses_a_change_it_is_on_record(visits, route):
    """Also where Django refuses it, and not a page of ours: the page says that the attempt was written down."""
    row = MATRIX[route]
    for visitor, place in visits(row):
        url, before = address(route, visitor), AuditEntry.objects.filter(outcome="denied").count()
        answer = visitor.client.post(url, row.sent(subject(route, visitor).pk, visitor.job), REMOTE_ADDR="192.0.2.7")
        if row.post.split()[place] == "403":
            assert "The attempt was written down." in text_of(answer), visitor.role
            entry = AuditEntry.objects.filter(outcome="denied").latest("pk")
            assert (entry.user_name, entry.address) == (visitor.role, "192.0.2.7")
            assert AuditEntry.objects.filter(outcome="denied").count() == before + 1, visitor.role
