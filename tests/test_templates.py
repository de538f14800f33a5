"""What the browser gets is as readable as the code: no line of a template, a style or a script is too long."""

from __future__ import annotations

from pathlib import Path

import pytest

import qorworker

PACKAGE = Path(qorworker.__file__).parent
LONGEST = 120  # as in pyproject.toml


@pytest.mark.parametrize("kind", ["templates/**/*.html", "static/**/*.css", "static/**/*.js"])
def test_no_line_is_too_long(kind):
    files = sorted(PACKAGE.glob(kind))
    assert files
    lines = [(file, number, line) for file in files for number, line in enumerate(file.read_text().splitlines(), 1)]
    too_long = [f"{file.relative_to(PACKAGE)}:{number}" for file, number, line in lines if len(line) > LONGEST]
    assert too_long == []
