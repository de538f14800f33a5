"""``python -m benchmarks``: every measure on every database that answers, several rounds, one table.

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
from pathlib import Path

DATABASES = ("sqlite", "postgresql", "mariadb")
MEASURES = ("enqueue", "drain", "latency", "memory")
SLOW = ("size",)  # only when asked for by name


def main() -> int:
    if sys.argv[1:2] in (["seed"], ["pages"]):
        return seeded()
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--databases", default=",".join(DATABASES))
    parser.add_argument("--only", default=",".join(MEASURES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    databases, measures = options.databases.split(","), options.only.split(",")
    if unknown := (set(databases) - set(DATABASES)) | (set(measures) - {*MEASURES, *SLOW}):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    figures: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    left_out: dict[str, str] = {}
    for number in range(1, options.rounds + 1):
        for database in databases:
            if database in left_out:
                continue
            print(f"round {number}, {database}", file=sys.stderr)
            lines, problem = measure(database, options)
            if problem:
                left_out[database] = problem
            for line in lines:
                figures[line["what"], line["unit"]][database].append(line["value"])
                if options.output:
                    with options.output.open("a") as file:
                        file.write(json.dumps({"round": number, "database": database, **line}) + "\n")
    print(table(figures, [name for name in databases if name not in left_out]))
    for database, problem in left_out.items():
        print(f"\nLeft out: {database}. {problem}")
    return 0 if figures else 1


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


def measure(database: str, options: argparse.Namespace) -> tuple[list[dict], str]:
    """The figures of one round on one database, and why there are none."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        "QORWORKER_TEST_DATABASE": database,
        "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")]),
    }
    asked = ["--only", options.only, "--jobs", str(options.jobs), "--rows", str(options.rows)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.measure", *asked],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return lines, "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no reason was told"])[-1]


def table(figures: dict, databases: list[str]) -> str:
    rows = [["what", *databases], ["---"] * (len(databases) + 1)]
    for (what, unit), values in figures.items():
        rows.append([f"{what}, {unit}", *(shown(values[database]) for database in databases)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def shown(values: list[float]) -> str:
    if not values:
        return ""
    digits = 0 if max(values) >= 100 else 1
    return f"{statistics.median(values):,.{digits}f} [{min(values):,.{digits}f}-{max(values):,.{digits}f}]"


if __name__ == "__main__":
    sys.exit(main())
