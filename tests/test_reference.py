"""The reference has every public name, and what it lists is there and described."""

from __future__ import annotations

import inspect
import re
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.dispatch import Signal

import qorworker
from qorworker import exceptions, metrics, signals, testing
from qorworker.models import Job

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
PAGES = {page.name: page.read_text() for page in REFERENCE.glob("*.md")}
DIRECTIVE = re.compile(r"^\.\. (auto\w+|py:data):: ([\w.]+)(?:\(.*\))?\n((?:   .*\n|\n)*)", re.MULTILINE)
ENTRIES = [found for text in PAGES.values() for found in DIRECTIVE.findall(text)]
CHECK = re.compile(r"qorworker\.[EWI]\d{3}")

pytestmark = pytest.mark.once


def documented() -> set[str]:
    names = {name for _, name, _ in ENTRIES}
    for kind, name, _ in ENTRIES:
        if kind == "automodule":
            module = import_module(name)
            own = getattr(module, "__all__", None) or [
                each for each, value in vars(module).items() if getattr(value, "__module__", "") == name
            ]
            names |= {f"{name}.{each}" for each in own}
    return names


def test_every_name_to_import_is_in_the_reference():
    public = {module.__name__: module.__all__ for module in (qorworker, testing, metrics)} | {
        exceptions.__name__: [
            name
            for name, value in vars(exceptions).items()
            if inspect.isclass(value) and value.__module__ == exceptions.__name__
        ]
    }
    names = {f"{module}.{name}" for module, own in public.items() for name in own}
    assert len(names) > 70
    assert {name for name in names if name not in documented() and in_exceptions(name) not in documented()} == set()


def in_exceptions(name: str) -> str:
    """The same name where it is defined, for those that are exceptions."""
    return f"qorworker.exceptions.{name.rpartition('.')[2]}"


def test_every_signal_is_in_the_reference():
    internal = {"jobs_made", "jobs_stored"}
    sent = {name for name, value in vars(signals).items() if isinstance(value, Signal)} - internal
    rows = [line.split("|")[1] for line in PAGES["signals.md"].splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == sent


def found(path: str) -> Any:
    """The object of a dotted path: of a module, or of a name in one."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError):
        return import_module(path)


def text_of(owner: Any, member: str) -> str | None:
    """What a member says of itself, not what its type does."""
    value = inspect.getattr_static(owner, member)
    if isinstance(value, property):
        value = value.fget
    elif isinstance(value, cached_property):
        value = value.func
    elif isinstance(value, (classmethod, staticmethod)):
        value = value.__func__
    return getattr(value, "__doc__", None)


def members_of(options: str) -> list[str]:
    listed = re.search(r"^   :members: (.+)$", options, re.MULTILINE)
    return [name.strip() for name in listed[1].split(",")] if listed else []


@pytest.mark.parametrize(("name", "options"), [(name, options) for kind, name, options in ENTRIES if kind != "py:data"])
def test_what_the_reference_lists_is_there_and_described(name, options):
    target = found(name)
    assert target.__doc__, f"{name} has no docstring"
    assert [member for member in members_of(options) if not text_of(target, member)] == []


def test_every_method_of_a_job_that_has_an_asynchronous_twin_is_in_the_reference():
    twins = {
        name
        for name in dir(Job)
        if hasattr(Job, f"a{name}") and "qorworker" in getattr(getattr(Job, name), "__module__", "")
    }
    (listed,) = [members_of(options) for _, name, options in ENTRIES if name == "qorworker.Job"]
    assert len(twins) > 12
    assert sorted(twins - set(listed)) == []


def test_every_check_is_on_its_page_with_a_remedy():
    package = ROOT / "qorworker"
    raised = {
        check for file in package.rglob("*.py") for check in re.findall(f'id="({CHECK.pattern})"', file.read_text())
    }
    rows = [line.split(" | ") for line in PAGES["checks.md"].splitlines() if line.startswith("| `qorworker.")]
    assert sorted(CHECK.search(row[0])[0] for row in rows) == sorted(raised)
    assert [row for row in rows if len(row) != 3 or not all(map(str.strip, row))] == []


def test_the_fields_that_the_page_of_jobs_names_are_there():
    rows = [line.split("|")[1] for line in PAGES["jobs.md"].splitlines() if line.startswith("| `")]
    named = re.findall(r"`(\w+)`", " ".join(rows))
    assert len(named) > 20
    assert set(named) <= {field.name for field in Job._meta.get_fields()} | {"arguments"}
