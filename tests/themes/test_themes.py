"""Our pages under each theme, in a browser: whole, and every control on them can be seen, read and used."""

from __future__ import annotations

import pytest

from tests.browser import missing_browser
from tests.browser.conftest import chromium  # noqa: F401
from tests.themes import THEMES, missing_themes
from tests.themes.visit import Visit, serving

missing = missing_themes() or missing_browser()
pytestmark = [
    pytest.mark.theme, pytest.mark.skipif(bool(missing), reason=missing), pytest.mark.timeout(900),
]  # fmt: skip

LOOKS = [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")]

# What people can read on a page, whatever stands around it.
EXPECTED = {
    "catalogue": ["Send greetings", "Open door"],
    "table": ["Send greetings", "Open door"],
    "run": ["Arguments", "Subject", "Run now", "Back"],
    "run every kind": ["Arguments", "Line", "Seasons", "When", "Options"],
    "run with rows": ["File", "Shop"],
    "run with a question": ["Please confirm", "Everything will be deleted.", "Yes, run “Asks first”"],
    "run with errors": ["Nothing was started. Please correct the following:", "This field is required."],
    "save arguments": ["What is saved", "Tea"],
    "delete saved arguments": ["Tea"],
    "list": ["Failed", "Running", "#1", "Run a job", "0 of 24 selected"],
    "many at once": ["Back, change nothing"],
    "job exception": ["KeyError", "a line", "Retry"],
    "job running": ["Abort…", "Running"],
    "job scheduled": ["Cancel…", "Run now", "Update schedule"],
    "change": ["Subject", "Save"],
    "delete": ["Send greetings"],
    "schedules": ["Need attention", "schedule 0", "Add a schedule", "Month and week"],
    "schedule": ["If still running", "Resume"],
    "new schedule": ["Line", "Preview", "Save"],
    "schedule month": ["schedule 0", "every day", "today"],
    "schedule week": ["schedule 0", "every day"],
    "schedule charts": ["every day", "Last times"],
    "schedule to approve": ["It makes no jobs until", "ann asked for it"],
    "run rehearsable": ["Rehearse", "Run now"],
    "job rehearsed": ["1,204", "Run it for real"],
    "job to approve": ["It waits for approval", "Approve"],
    "list to approve": ["Publish prices", "Approve"],
    "job vitals": ["Vitals", "open_door"],
    "job asking": ["Publish 1,204 prices?", "Answer"],
    "messages": ["Not sent", "Send again"],
    "rules": ["Night shift", "Send a test"],
    "rule": ["Night shift", "hooks.example.com", "Save"],
    "calendars": ["calendar-0"],
    "calendar new": ["Save"],
    "batch": ["A batch"],
    "queues": ["default", "Served by", "Pause a queue or a job type…"],
    "workers": ["web-1:7", "gone-1:7"],
    "worker": ["web-1:7"],
    "denied": ["qorworker.run_job"],
}


@pytest.fixture(scope="module", params=THEMES)
def visit(request, chromium):  # noqa: F811
    with serving(request.param) as site:
        yield Visit(chromium, site)
        chromium.get("about:blank")


def test_every_page_can_be_seen_read_and_used(visit):
    found = []
    for name in visit.site["pages"]:
        visit.errors()
        visit.open(name)
        for width, scheme in LOOKS:
            visit.look(width, scheme)
            visit.shoot(f"{name}-{width}-{scheme}")
            found += [f"{name} {width} {scheme}: {fault}" for fault in visit.faults()]
            if (width, scheme) == LOOKS[0]:
                text = visit.text()
                found += [f"{name}: nobody can read {words!r}" for words in EXPECTED.get(name, []) if words not in text]
        found += [f"{name}: {error}" for error in visit.errors()]
    assert not found, "\n".join(found)


def test_the_button_of_a_run_form_says_what_it_will_do(visit):
    visit.open("run with a question")
    assert visit.button() == "Run now"
    visit.click("[name=qw-when][value=later]")
    assert visit.button() == "Schedule"
    assert visit.is_shown("[name=qw-at_0]")
    visit.click("[name=qw-when][value=now]")
    assert visit.button() == "Run now"
    assert not visit.is_shown("[name=qw-at_0]")


def test_the_boxes_of_a_list_are_counted(visit):
    visit.open("list")
    visit.click("#action-toggle")
    assert "24 of 24 selected" in visit.text()
    visit.click("tbody .action-select")
    assert "23 of 24 selected" in visit.text()


# The probe itself: what it has to find


FAULTY = {
    "cannot be seen": "<button style='width: 0; height: 0; padding: 0; border: 0; overflow: hidden'>Go</button>",
    "its text": "<button class='button' style='width: 25px; height: 25px; overflow: hidden'>Run again</button>",
    "looks like no button": "<button style='border: 0; background: none; padding: 5px 20px'>Go</button>",
    "has no border that can be seen": "<input name=a style='border: 0; background: white'>",
    "<input picture> “” has no border": "<input name=picture style='border: 0; background: url(data:,) white'>",
    "has a contrast of": "<p style='color: #bbbbbb'>faint</p>",
    "reaches from": "<input name=a style='position: absolute; left: 1270px'>",
    "is covered by": "<button>Go</button><i style='position: fixed; inset: 0'>i</i>",
    "overlaps": "<button>First</button><button style='margin-left: -20px'>Second</button>",
    "is hidden, and shown": "<p hidden style='display: block'>secret</p>",
    "is for screen readers, and shown": "<p class='visually-hidden'>spoken</p>",
    "is a table of": "<table style='display: block; width: 0; overflow: hidden'><tr><td>a</table>",
}


@pytest.mark.parametrize("fault", FAULTY)
def test_the_probe_finds(chromium, fault):  # noqa: F811
    page = f"<!doctype html><body style='background: white'><main class=qw>{FAULTY[fault]}</main>"
    chromium.get("data:text/html;charset=utf-8," + page.replace("#", "%23"))
    visit = Visit(chromium, {})
    visit.look(1280, "light")
    assert any(fault in found for found in visit.faults())


def test_the_probe_finds_nothing_on_a_page_without_faults(chromium):  # noqa: F811
    sound = (
        "<p>text</p><input name=a style='height: 30px'> <button style='height: 30px'>Go</button> <p hidden>secret</p>"
    )
    chromium.get(f"data:text/html;charset=utf-8,<!doctype html><body><main class=qw>{sound}</main>")
    visit = Visit(chromium, {})
    visit.look(1280, "light")
    assert visit.faults() == []
