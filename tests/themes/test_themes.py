"""Our pages are there, whole, under each theme."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from tests.support import ROOT
from tests.themes import THEMES, missing_themes

pytestmark = [pytest.mark.theme, pytest.mark.skipif(bool(missing_themes()), reason=missing_themes())]

# What each page must have, whatever stands around it.
EXPECTED = {
    "index": ["Jobs", "Workers"],
    "catalogue": ["Send greetings", "Open door", "qorworker/catalogue"],
    "table": ["Send greetings", "Open door"],
    "run": ["Subject", 'name="subject"', 'name="qw-token"', 'type="submit"'],
    "run with rows": ['name="file"', 'name="shop"', "multipart/form-data"],
    "list": ["qw-badge", "Failed", "Running", "?tab=failed", "qorworker/list"],
    "empty list": ["No job was cancelled."],
    "failed": ["KeyError", "a line", 'id="log"', "Retry", "qorworker/detail"],
    "running": ["Abort…", "Running"],
    "scheduled": ["Cancel…", "Run now", "Update schedule"],
    "delete": ["Send greetings"],
    "schedules": ["Need attention", "Next", "qorworker/schedule"],
    "schedule": ["If still running", "Skip the next time", "Pause…"],
    "new schedule": ["Subject", 'name="subject"', "Preview", 'type="submit"'],
    "calendar": ["schedule 0", "today", "qw-days"],
    "queues": ["default", "Served by", "Pause a queue or a job type…"],
    "workers": ["web-1:7", "Alive"],
    "worker": ["web-1:7"],
}


@pytest.fixture(scope="module", params=THEMES)
def pages(request):
    environment = {
        **os.environ, "QORWORKER_TEST_DATABASE": "sqlite", "QORWORKER_TEST_THEME": request.param,
        "DJANGO_SETTINGS_MODULE": "tests.themes.settings",
    }  # fmt: skip
    command = [sys.executable, "-m", "tests.themes.render"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("page", EXPECTED)
def test_the_page_is_whole(pages, page):
    status, body = pages[page]
    assert status == 200
    assert [text for text in EXPECTED[page] if text not in body] == []


def test_no_page_is_left_out(pages):
    assert set(pages) == set(EXPECTED)


def test_nothing_of_ours_is_inline(pages):
    for name, (_status, body) in pages.items():
        assert not re.search(r"<[^>]*class=\"[^\"]*\bqw-[^>]*\s(style|on[a-z]+)=", body), name


def test_the_recipe_of_the_documentation_is_the_one_that_is_tried():
    recipe = (ROOT / "tests" / "themes" / "recipe" / "admin.py").read_text()
    assert f"```py\n{recipe}```" in (ROOT / "docs" / "admin.md").read_text()
