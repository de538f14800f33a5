"""``python -m tests``: the whole suite on every database that answers, and with the programs that are installed.

Those are a browser, gettext, themes and type checkers. Each run is spread over the processor's cores. The end of the
output names what was left out. With ``--require-all``, or where CI=true, leaving out or skipping anything fails.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.browser import missing_browser
from tests.themes import missing_themes
from tests.typing import missing_checkers

ROOT = Path(__file__).resolve().parents[1]
DRIVERS = {"sqlite": ("sqlite3", ""), "postgresql": ("psycopg", "postgresql"), "mariadb": ("MySQLdb", "mariadb")}
# The mark of a run and where all tests with it are: to collect those of all files takes a process ten seconds and more.
PLACES = {
    "browser": ("browser", "tests/browser"),
    "gettext": ("gettext", "tests/test_locale.py"),
    "themes": ("theme", "tests/themes"),
    "types": ("types", "tests/typing"),
}
NOTHING_COLLECTED = 5  # pytest's exit status
CORES = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 4)
CONNECT = "from django.db import connection\nwith connection._nodb_cursor() as cursor: cursor.execute('SELECT 1')"


@dataclass
class Run:
    """One call of pytest and what came of it."""

    name: str
    arguments: list[str]
    database: str = "sqlite"
    left_out: str = ""
    seconds: float = 0.0
    status: int = 0
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        if self.left_out:
            return f"{self.name:<12} left out: {self.left_out}"
        counts = f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"
        broken = "" if self.status in (0, 1) else f"; pytest ended with exit status {self.status}"
        return f"{self.name:<12} {counts} in {self.seconds:.0f} s{broken}"


def main() -> int:
    options, more = parse()
    runs = [run for run in planned(more) if not options.only or run.name in options.only]
    for run in runs:
        if not run.left_out:
            print(f"\n=== {run.name} ===", flush=True)
            carry_out(run)
            if more and run.status == NOTHING_COLLECTED:  # a choice such as -k may well leave nothing here
                run.status = 0
    report(runs)
    everything = options.require_all or os.environ.get("CI") == "true"
    incomplete = any(run.left_out or run.skipped for run in runs)
    return int(any(run.status for run in runs) or (everything and incomplete))


def parse() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="python -m tests", description=__doc__, epilog="The rest is given to pytest.")
    parser.add_argument("--require-all", action="store_true", help="fail if anything is left out or skipped")
    names = (*DRIVERS, "browser", "gettext", "themes", "types")
    parser.add_argument("--only", action="append", choices=names, help="just this one; may be repeated")
    return parser.parse_known_args()


def planned(more: list[str]) -> Iterator[Run]:
    for database in DRIVERS:
        unmarked = ["-m", "not browser and not gettext and not theme and not types", *more]
        yield Run(database, unmarked, database, left_out=missing_database(database))
    names_files = any((ROOT / argument.partition("::")[0]).exists() for argument in more)
    missing = {
        "browser": missing_browser,
        "gettext": missing_gettext,
        "themes": missing_themes,
        "types": missing_checkers,
    }
    for name, (mark, place) in PLACES.items():
        yield Run(name, ["-m", mark, *more, *([] if names_files else [place])], left_out=missing[name]())


def missing_database(name: str) -> str:
    """Why there can be no tests on this database; empty if there can."""
    module, extra = DRIVERS[name]
    if find_spec(module) is None:
        return f"its driver is not installed: pip install -e '.[{extra}]'"
    if name == "sqlite":
        return ""
    environment = {**os.environ, "QORWORKER_TEST_DATABASE": name, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    answer = subprocess.run([sys.executable, "-c", CONNECT], cwd=ROOT, env=environment, capture_output=True, text=True)
    return "" if answer.returncode == 0 else f"no connection: {answer.stderr.strip().splitlines()[-1]}"


def missing_gettext() -> str:
    """Why the source cannot be searched for the texts in it; empty if it can."""
    return "" if shutil.which("xgettext") else "xgettext is not installed"


def carry_out(run: Run) -> None:
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.xml"
        spread = ["--numprocesses", str(CORES + 1), "--dist", "loadfile", "--no-loadscope-reorder"]
        command = [sys.executable, "-m", "pytest", f"--junit-xml={record}", *spread, *run.arguments]
        environment = {**os.environ, "QORWORKER_TEST_DATABASE": run.database}
        run.status = subprocess.run(command, cwd=ROOT, env=environment).returncode
        if record.exists():
            count(run, ElementTree.parse(record).getroot())
    run.seconds = time.monotonic() - begun


def count(run: Run, record: ElementTree.Element) -> None:
    for suite in record.iter("testsuite"):
        tests, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        run.skipped += skipped
        run.failed += failed
        run.passed += tests - failed - skipped


def report(runs: list[Run]) -> None:
    print("\n=== Summary ===")
    for run in runs:
        print(run)
    passed, failed, skipped = (sum(getattr(run, kind) for run in runs) for kind in ("passed", "failed", "skipped"))
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""), flush=True)


if __name__ == "__main__":
    sys.exit(main())
