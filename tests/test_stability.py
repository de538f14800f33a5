"""What is called public is there and described, and the forms for reports are what GitHub takes."""

from __future__ import annotations

import inspect
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from django.core.management import get_commands

import qorworker

pytestmark = pytest.mark.once
ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "reference" / "stability.md").read_text()
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
INPUTS = {"input", "textarea", "dropdown", "checkboxes"}


@pytest.mark.parametrize("name", qorworker.__all__)
def test_each_public_name_is_described(name):
    assert (inspect.getdoc(getattr(qorworker, name)) or "").strip()


def test_each_module_that_is_called_public_can_be_imported():
    modules = set(re.findall(r"`(qorworker\.\w+)`", PAGE))
    assert {"qorworker.exceptions", "qorworker.signals", "qorworker.metrics"} <= modules
    for module in modules:
        __import__(module)


def test_each_command_is_called_public():
    (line,) = [line for line in PAGE.splitlines() if line.startswith("| The commands")]
    ours = {name for name, app in get_commands().items() if app == "qorworker"}
    assert set(re.findall(r"`(\w+)`", line.split("|")[1])) == ours


@pytest.mark.parametrize("path", [path for path in FORMS if path.name != "config.yml"], ids=lambda path: path.stem)
def test_each_form_is_one_that_github_takes(path):
    form = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= form.keys()
    asked = [each for each in form["body"] if each["type"] in INPUTS]
    assert asked
    assert {each["type"] for each in form["body"]} <= INPUTS | {"markdown"}
    assert len({each["id"] for each in asked}) == len(asked)
    assert all(each["attributes"]["label"] for each in asked)
    for each in asked:
        if each["type"] == "dropdown":
            assert len(set(each["attributes"]["options"])) == len(each["attributes"]["options"]) > 1


def test_a_version_that_is_not_that_of_the_package_is_not_released():
    done = subprocess.run([ROOT / ".ci" / "release"], capture_output=True, text=True)
    assert done.returncode != 0
    assert "usage: .ci/release [--rehearse] VERSION" in done.stderr
