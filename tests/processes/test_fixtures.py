"""Workers under test: where they may be started, and when they end."""

import os
import signal
import subprocess
import sys

import pytest

from tests.admin.support import a_worker
from tests.support import ROOT, WITH_THE_TESTS, census, environment, wait_until

STARTS_A_WORKER = """\
import sys, time
from pathlib import Path
import django

django.setup()
from tests.support import running_worker, wait_until

with running_worker(folder=Path(sys.argv[1]), machine=sys.argv[2:] == ["machine"]) as worker:
    wait_until(worker.children)
    print(worker.mark, flush=True)
    time.sleep(600)
"""


def test_no_worker_is_started_beside_one_that_the_tests_of_a_module_share(transactional_db, request):
    shared = a_worker(process_id=os.getpid())
    try:
        with pytest.raises(AssertionError, match="need a module of their own"):
            request.getfixturevalue("start")
    finally:
        shared.delete()


if WITH_THE_TESTS:

    @pytest.mark.process
    @pytest.mark.parametrize("options", [[], ["machine"]])
    def test_a_worker_ends_with_the_process_that_started_it(transactional_db, tmp_path, options):
        command = [sys.executable, "-c", STARTS_A_WORKER, str(tmp_path), *options]
        with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True) as process:
            mark = process.stdout.readline().strip()
            before = census(mark)
            process.kill()
        try:
            assert len(before) >= 3  # the parent, the fork server and a child
            wait_until(lambda: not census(mark), why=lambda: census(mark))
        finally:
            for pid in census(mark):
                os.kill(pid, signal.SIGKILL)
