"""``python -m benchmarks``: every measure on every database that answers, several rounds, one table.

``python -m benchmarks counts``: what a job costs in calls, statements and bytes, beside the budget for it.
``python -m benchmarks seed`` and ``python -m benchmarks pages``: the admin's pages with a million jobs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

DATABASES = ("sqlite", "postgresql", "mariadb")
MEASURES = ("enqueue", "drain", "latency", "start", "memory")
SLOW = ("batches", "schedules", "size", "soak")  # only when asked for by name


def main() -> int:
    if sys.argv[1:2] in (["seed"], ["pages"]):
        return seeded()
    if sys.argv[1:2] == ["counts"]:
        return counted()
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--databases", default=",".join(DATABASES))
    parser.add_argument("--only", default=",".join(MEASURES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--schedules", type=int, default=5_000)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--against", metavar="REVISION", help="measure this revision in turn, and compare")
    options = parser.parse_args()
    databases, measures = options.databases.split(","), options.only.split(",")
    if unknown := (set(databases) - set(DATABASES)) | (set(measures) - {*MEASURES, *SLOW}):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    with ExitStack() as stack:
        checkouts = [Path.cwd()]
        if options.against:
            checkouts.insert(0, stack.enter_context(checkout_of(options.against)))
        figures, left_out = rounds(checkouts, databases, options)
    print(table(figures, [name for name in databases if name not in left_out]))
    for database, problem in left_out.items():
        print(f"\nLeft out: {database}. {problem}")
    return 0 if figures else 1


def rounds(
    checkouts: list[Path], databases: list[str], options: argparse.Namespace
) -> tuple[dict[tuple[str, str], dict[str, list[list[float]]]], dict[str, str]]:
    """The figures by what and unit, then by database: a list for each checkout. And why a database has none."""
    figures: dict = defaultdict(lambda: defaultdict(lambda: [[] for _ in checkouts]))
    left_out: dict[str, str] = {}
    for number in range(1, options.rounds + 1):
        for database in databases:
            for place, checkout in enumerate(checkouts):
                if database in left_out:
                    continue
                print(f"round {number}, {database}, {checkout}", file=sys.stderr)
                lines, problem = measure(database, options, checkout)
                if problem:
                    left_out[database] = problem
                for line in lines:
                    figures[line["what"], line["unit"]][database][place].append(line["value"])
                    if options.output:
                        with options.output.open("a") as file:
                            entry = {"round": number, "database": database, "checkout": str(checkout), **line}
                            file.write(json.dumps(entry) + "\n")
    return figures, left_out


@contextmanager
def checkout_of(revision: str) -> Iterator[Path]:
    """A folder with this revision of the repository. It runs with the libraries of this environment."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "checkout"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(path), revision], check=True)
        try:
            yield path
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(path)], check=True)


def seeded() -> int:
    """``seed`` fills a database of its own, ``pages`` measures the admin's pages on it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("what", choices=("seed", "pages"))
    parser.add_argument("--database", choices=DATABASES, default="sqlite")
    parser.add_argument("--jobs", type=int, default=1_000_000, help="for seed: how many")
    parser.add_argument("--rounds", type=int, default=15, help="for pages: how often each is asked for")
    parser.add_argument("--explain", action="store_true", help="for pages: show the plans of slow statements")
    options = parser.parse_args()
    os.environ.update(
        DJANGO_SETTINGS_MODULE="benchmarks.settings",
        QORWORKER_TEST_DATABASE=options.database,
        QORWORKER_TEST_NAME=os.environ.get("QORWORKER_TEST_NAME", "qorworker_pages"),
    )
    from benchmarks import pages, seed

    if options.what == "seed":
        seed.main(options.jobs)
        return 0
    return int(not pages.main(options.rounds, options.explain))


def counted() -> int:
    """Compare the counts with the budget on each database."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks counts")
    parser.add_argument("counts", choices=("counts",))
    parser.add_argument("--databases", default=",".join(DATABASES))
    parser.add_argument("--write", action="store_true", help="make the counts of now the budget")
    options = parser.parse_args()
    status = 0
    for database in options.databases.split(","):
        print(f"\n{database:<55} {'a job':>10} {'budget':>10}", flush=True)
        command = [sys.executable, "-m", "benchmarks.counts", "--database", database]
        command += ["--write"] if options.write else []
        status |= subprocess.run(command, env=environment_for(database, Path.cwd()), check=False).returncode
    return status


def environment_for(database: str, checkout: Path) -> dict[str, str]:
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        "QORWORKER_TEST_DATABASE": database,
        "PYTHONPATH": os.pathsep.join([str(checkout), os.environ.get("PYTHONPATH", "")]),
    }


def measure(database: str, options: argparse.Namespace, checkout: Path) -> tuple[list[dict], str]:
    """The figures of one round on one database, and why there are none."""
    chosen = ["--only", options.only, "--jobs", str(options.jobs), "--rows", str(options.rows)]
    chosen += ["--schedules", str(options.schedules)]
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.measure", *chosen],
        cwd=checkout,
        env=environment_for(database, checkout),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    problem = (result.stderr.strip().splitlines() or ["No reason was given."])[-1]
    return lines, "" if result.returncode == 0 else problem


def table(figures: dict, databases: list[str]) -> str:
    rows = [["what", *databases], ["---"] * (len(databases) + 1)]
    for (what, unit), values in figures.items():
        rows.append([f"{what}, {unit}", *(shown(values[database]) for database in databases)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def shown(values: list[list[float]]) -> str:
    """The median of the last checkout with its range, and its ratio to the first if there are two."""
    if not all(values):
        return ""
    *before, now = values
    digits = 0 if max(now) >= 100 else 1
    text = f"{statistics.median(now):,.{digits}f} [{min(now):,.{digits}f}-{max(now):,.{digits}f}]"
    return f"{text}, {statistics.median(now) / statistics.median(before[0]):.2f} times" if before else text


if __name__ == "__main__":
    sys.exit(main())
