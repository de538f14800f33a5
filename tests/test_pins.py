"""What CI installs is pinned: each requirement of the tests and checks is in the files with hashes."""

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PINS = {  # extras, groups, and what a marker says of requirements that are for other versions of Python
    "newest": (("test", "mariadb"), ("themes", "lint", "type", "docs"), "< '3.12'"),
    "oldest": (("test", "mariadb"), ("themes",), ">= '3.12'"),
}


def names(lines):
    """The packages of some requirements, named as indexes name them."""
    found = (re.match(r"[\w.-]+", line) for line in lines)
    return {re.sub(r"[-_.]+", "-", match.group()).lower() for match in found if match} - {"qorworker"}


@pytest.mark.once
@pytest.mark.parametrize("pins", PINS)
def test_no_requirement_is_left_out(pins):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras, groups, elsewhere = PINS[pins]
    wanted = chain(
        project["project"]["dependencies"],
        *(project["project"]["optional-dependencies"][extra] for extra in extras),
        *(project["dependency-groups"][group] for group in groups),
    )
    lines = (ROOT / ".ci" / f"pins-{pins}.txt").read_text().splitlines()
    needed = names(line for line in wanted if not any(marker in line for marker in ("win32", elsewhere)))
    assert needed <= names(line for line in lines if "==" in line)
    assert lines[-1].strip().startswith("--hash=")
