"""What a job costs in calls, statements and bytes stays within its budget."""

import os
import subprocess
import sys

import pytest

from tests.settings import ENGINE, NAME
from tests.support import ROOT


@pytest.mark.process
@pytest.mark.django_db
def test_no_count_is_over_its_budget():
    environment = {
        **os.environ, "QORWORKER_TEST_NAME": f"{NAME}_counts_{os.environ.get('PYTEST_XDIST_WORKER', '')}"
    }  # fmt: skip
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks", "counts", "--databases", ENGINE],
        cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=170,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert "enqueue one: calls" in result.stdout
