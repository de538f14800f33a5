"""No state that can be reached is forbidden; and without any one of the rules one is.

``python -m tests.model`` makes the whole search. Here are a smaller one, and the ways that the whole one has found.
"""

from __future__ import annotations

import json

import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from qorworker.database.answers import renewal_interval, write_limit
from tests.model.__main__ import FULL, WAYS
from tests.model.rules import RULES
from tests.model.search import replay, search
from tests.model.states import Bounds
from tests.test_internals import PACKAGE, defined_in

FOUND = json.loads(WAYS.read_text())


def test_with_all_rules_nothing_forbidden_can_be_reached():
    found = search(Bounds(faults=1, requests=0))
    assert found.wrong == "", found.way
    assert found.states > 20_000


def test_there_is_a_way_for_each_rule():
    assert FOUND.keys() == RULES.keys()


@pytest.mark.parametrize("name", RULES)
def test_without_this_rule_something_forbidden_is_reached(name):
    assert replay(FOUND[name]["way"], FULL, without=[name]) == FOUND[name]["wrong"] != ""


@pytest.mark.parametrize("name", RULES)
def test_with_it_the_same_way_leads_to_nothing_forbidden(name):
    assert replay(FOUND[name]["way"], FULL) == ""


@pytest.mark.parametrize("name", RULES)
def test_each_rule_is_kept_where_it_says(name):
    rule = RULES[name]
    assert rule.name in defined_in(PACKAGE / rule.file)


@given(st.floats(3, 600), st.floats(1, 600))
def test_an_owner_renews_more_often_than_others_take_to_decide(lease, observation):
    with override_settings(QORWORKER={"LEASE": lease, "OBSERVATION": observation}):
        assert renewal_interval() + write_limit() <= min(lease, observation)
