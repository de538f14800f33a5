"""What a release has left in a database becomes what today's code needs, and its jobs run.

There is no release yet. So nothing is migrated from one; what does it is tried with the tables of today. Once
CHANGELOG.md has the heading of a release, these tests fail until its state is recorded.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.released.states import ROOT, manage, record, restore, states

pytestmark = [pytest.mark.once, pytest.mark.process]
COUNTS = """
import json
from qorworker import Batch, Calendar, Job, Schedule
statuses = sorted(Job.objects.values_list("status", flat=True))
print(json.dumps([statuses, Batch.objects.count(), Calendar.objects.count(), Schedule.objects.count()]))
"""


def releases() -> list[str]:
    """The versions that CHANGELOG.md calls released, but for candidates."""
    headings = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    return [version for version in headings if re.fullmatch(r"\d+\.\d+\.\d+", version)]


def counted(folder: Path) -> list:
    return json.loads(manage(folder, "shell", "-v", "0", "-c", COUNTS).splitlines()[-1])


def upgrade(folder: Path, state: dict) -> tuple[list, list]:
    """Restore a state, migrate it, and run what waits; what was there before that and after it."""
    restore(folder, state)
    manage(folder, "migrate")
    manage(folder, "checkjobs")
    before = counted(folder)
    manage(folder, "runworker", "--batch", "--processes", "1")
    return before, counted(folder)


def test_the_state_of_each_release_is_recorded():
    assert sorted(states()) == sorted(releases()), "python -m tests.released.states VERSION, in the tag of the release"


def test_each_release_can_be_upgraded_to_the_code_of_today(tmp_path):
    for version, state in states().items():
        folder = tmp_path / version
        folder.mkdir()
        _before, after = upgrade(folder, state)
        assert "new" not in after[0], version


def test_what_is_recorded_today_can_be_restored_and_goes_on(tmp_path):
    recorded, restored = tmp_path / "recorded", tmp_path / "restored"
    recorded.mkdir()
    restored.mkdir()
    state = json.loads(json.dumps(record(recorded)))
    expected = counted(recorded)
    before, after = upgrade(restored, state)
    assert before == expected
    assert before[0].count("new") == 3
    assert after[0].count("done") >= before[0].count("done") + 3  # they enqueue others
    assert "new" not in after[0]
