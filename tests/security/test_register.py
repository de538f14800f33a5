"""Every case of the register has tests, and they exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.security.register import CASES

TESTS = Path(__file__).resolve().parents[1]


def test_no_case_is_forgotten():
    assert set(CASES) == {f"S{number:02}" for number in range(1, 57)}


@pytest.mark.parametrize("case", CASES)
def test_every_case_has_tests_that_exist_or_a_reason_why_it_cannot_arise(case):
    row = CASES[case]
    assert bool(row.tests) != bool(row.cannot_arise)
    for test in row.tests:
        file, name = test.split("::")
        assert re.search(rf"^\s*def {name}\(", (TESTS / file).read_text(), re.MULTILINE), f"{case}: {test}"
