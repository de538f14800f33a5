"""Runs all trials, and writes the page of documentation about them; with --slice a few, and no page."""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import page, results
from tests.chaos.faults import FAULTS
from tests.chaos.harms import HARMS
from tests.chaos.storms import fits

DATABASES = ("sqlite", "postgresql", "mariadb")
PAGE = results.FILE.with_suffix(".md")
# In CI: what takes most with it. Each is some twenty seconds where nothing else runs.
SLICE = (
    ("sqlite", "crashes"), ("postgresql", "crashes"),
    ("mariadb", "kill a worker and start another"), ("postgresql", "freeze a parent"),
    ("postgresql", "restart the server"), ("mariadb", "kill the server"), ("mariadb", "cut one worker off"),
)  # fmt: skip
OTHERS = {  # trials of one kind, with their options for one run
    "trees": ("--rounds", "20"), "freezes": ("--rounds", "5"), "kills": ("--seconds", "60"),
    "restarts": ("--rounds", "4", "--limit", "120"), "silences": ("--rounds", "4", "--limit", "120"),
    "races": ("--races", "500"), "firing": (), "soak": ("--jobs", "20000"), "zones": ("--seconds", "120"), "model": (),
    "upgrades": ("--seconds", "60"),
}  # fmt: skip
THOROUGH = {  # the same, much longer
    "trees": ("--rounds", "350"), "freezes": ("--rounds", "200"), "kills": ("--seconds", "1200"),
    "restarts": ("--rounds", "200", "--limit", "120"), "silences": ("--rounds", "200", "--limit", "120"),
    "races": ("--races", "3500"), "firing": (), "soak": ("--jobs", "100000"), "zones": (), "model": (),
    "upgrades": ("--seconds", "300"),
}  # fmt: skip
WITHOUT_DATABASE = ("zones", "model")  # once, with those of SQLite
ON_SQLITE = ("trees", "kills", "races", "firing", "soak", "upgrades", *WITHOUT_DATABASE)
LONGEST = 900.0, 7200.0  # seconds that one trial may take, and a thorough one


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--slice", action="store_true", help="only what CI runs; the exit status says how it went")
    parser.add_argument("--page-only", action="store_true", help="run nothing; write the page from earlier results")
    parser.add_argument("--rounds", type=int, default=3, help="of each storm (default: %(default)s)")
    parser.add_argument("--thorough", action="store_true", help="trials of one kind much longer")
    parser.add_argument("--crash-seconds", type=float, default=300.0, help="per database (default: %(default)s)")
    parser.add_argument(
        "--limit", type=float, default=60.0, help="seconds until work must go on (default: %(default)s)"
    )
    parser.add_argument("--alone", action="store_true", help="nothing else runs on this machine: recovery is measured")
    parser.add_argument("--only", default="", help="only databases, trials and storms whose name contains this text")
    parser.add_argument("--file", type=Path, default=results.FILE, help="results are added to this file")


def run(options: argparse.Namespace) -> int:
    if options.slice:
        with tempfile.TemporaryDirectory() as folder:
            options.file, options.rounds, options.crash_seconds = Path(folder) / "results", 1, 25.0
            options.limit = 120.0  # it is about what hangs for good: recovery is measured on a quiet machine
            return Runs(options).run([Run(database, name) for database, name in SLICE])
    failed = 0
    if not options.page_only:
        runs = Runs(options)
        failed = runs.run([each for each in everything() if options.only in str(each)])
    PAGE.write_text(page.text(results.read(options.file)))
    print(f"wrote {PAGE}")
    return failed


@dataclass(frozen=True)
class Run:
    database: str
    name: str  # "crashes", "tests", one of OTHERS, or a harm

    def __str__(self) -> str:
        return f"{self.database}: {self.name}"


def everything() -> Iterator[Run]:
    for database in DATABASES:
        yield from (Run(database, name) for name in page.CRASHES)
        yield from (Run(database, name) for name in HARMS if fits(name, database))
        yield from (Run(database, name) for name in OTHERS if fits_other(name, database))
        yield Run(database, "tests")


def fits_other(name: str, database: str) -> bool:
    return name in ON_SQLITE if database == "sqlite" else name not in WITHOUT_DATABASE


class Runs:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.chance = options, random.Random(options.seed)

    def run(self, runs: list[Run]) -> int:
        """Carry all of them out. The exit status."""
        failed = 0
        for each in runs:
            begun = time.monotonic()
            is_bad = self.tests(each) if each.name == "tests" else self.trial(each)
            failed |= is_bad
            print(f"{'FAILED' if is_bad else 'ok':<7} {each} ({time.monotonic() - begun:.0f} s)", flush=True)
        return failed

    def trial(self, each: Run) -> int:
        seed = self.chance.randrange(10**6)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "figures.json"
            given, longest = self.arguments(each, file), LONGEST[self.options.thorough]
            status, said, seconds = results.run_trial(each.database, *given, seed=seed, timeout=longest)
            found = json.loads(file.read_text()) if file.exists() else {}
        violations = found.get("violations") or [line for line in said.splitlines() if line.startswith("VIOLATION")]
        if status and not violations:
            lines = said.strip().splitlines() or ["it said nothing"]
            error = next((line for line in reversed(lines) if re.match(r"[\w.]+(Error|Exception)\b", line)), lines[-1])
            violations = [f"it did not come to its end: {error}"]
        if status:
            print(said[-6000:])
            for violation in violations[:10]:  # last, where a log that was cut short still has them
                print(f"VIOLATION (seed {seed})", violation[:1500], flush=True)
        results.add(
            self.options.file, name=each.name, database=each.database, seed=seed, status=status,
            alone=self.options.alone, seconds=round(seconds), figures=found.get("figures", {}),
            points=found.get("points", {}), violations=[violation[:600] for violation in violations],
            said=said.splitlines()[-3:],
        )  # fmt: skip
        return int(bool(status))

    def arguments(self, each: Run, file: Path) -> tuple[str, ...]:
        if each.name in page.CRASHES:
            before = json.dumps(page.turns(results.read(self.options.file), each.name, each.database))
            seconds = str(self.options.crash_seconds)
            return (each.name, "--crashes", "100000", "--seconds", seconds, "--json", str(file), "--before", before)
        if each.name in OTHERS:
            lengths = THOROUGH if self.options.thorough else OTHERS
            return (each.name, *lengths[each.name], "--json", str(file))
        rounds, limit = str(self.options.rounds), str(self.options.limit)
        return ("storms", each.name, "--rounds", rounds, "--limit", limit, "--json", str(file))

    def tests(self, each: Run) -> int:
        """The tests that inject faults, on this database."""
        wanted = sorted({f"tests/{test}" for fault in FAULTS.values() for test in fault.tests})
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
            env = {**results.environment(each.database), "DJANGO_SETTINGS_MODULE": "tests.settings"}
            status = subprocess.run([*command, *nodes(wanted, env)], cwd=results.ROOT, env=env, check=False).returncode
            cases = ElementTree.parse(report).getroot().iter("testcase")
            found = {}
            for case in cases:
                name = (case.get("name") or "").partition("[")[0]
                bad = case.find("failure") is not None or case.find("error") is not None
                now = "failed" if bad else "skipped" if case.find("skipped") is not None else "passed"
                found[name] = max(found.get(name, ""), now, key=("", "skipped", "passed", "failed").index)
        failed = [name for name, outcome in found.items() if outcome == "failed"]
        results.add(
            self.options.file, name="tests", database=each.database, seed="none", status=status, tests=found,
            violations=failed,
        )  # fmt: skip
        return int(bool(status))


def nodes(wanted: list[str], env: dict[str, str]) -> list[str]:
    """Those of these tests that there are on this database, by the names that pytest has for them."""
    files = sorted({test.partition("::")[0] for test in wanted})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files]
    said = subprocess.run(command, cwd=results.ROOT, env=env, capture_output=True, text=True, check=False).stdout
    collected = [line.partition("[")[0] for line in said.splitlines() if "::" in line]
    return [name for name in dict.fromkeys(collected) if f"{name.split('::')[0]}::{name.split('::')[-1]}" in wanted]
