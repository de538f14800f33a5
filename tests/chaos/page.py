"""The page docs/explanation/trials.md: what was run, and what came of it. It is made of the results alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import product
from typing import Any

from tests.chaos.faults import FAULTS
from tests.chaos.oracle import ZEROS
from tests.security.register import CASES

Result = dict[str, Any]
KILLS = (
    "kill a child", "kill a worker and start another", "kill a worker for good", "kill a machine", "kill a fork server",
    "stop a worker and kill it soon", "stop a worker twice", "stop a worker", "restart all one by one", "run poison",
)  # fmt: skip
FREEZES = ("freeze a child", "freeze a parent", "freeze a machine", "freeze a fork server", "cut one worker off")
LONGER = (
    "trees", "freezes", "kills", "restarts", "silences", "races", "firing", "soak", "zones", "model", "upgrades",
)  # fmt: skip
CRASHES = {"crashes": "", "handovers": ", with Celery"}
SERVERS = ("restart the server", "kill the server", "end all sessions")

HEAD = """# Trials

What happens to jobs when processes, machines, networks and database servers fail. `python -m tests.chaos report` runs
all of this and writes this page from the results, `trials.jsonl` in the same folder.
Each run has its seed: `python -m tests.chaos --seed N storms "kill a child"` makes the same decisions again, though not
the same timing. CI runs a slice of it for every change (`report --slice`).

While faults are injected, two workers run jobs of every kind: with one attempt and with many, loops with
checkpoints, loops with transactions, batches and their callbacks, chains, jobs that share a process, questions,
approvals, a schedule that fires each second; in the trial `handovers` some of them run on Celery. Failures are reported
to a receiver of webhooks. A process of people enqueues jobs and aborts, pauses, retries, cancels and answers. Jobs note
their starts and ends in files; people note what was accepted after the commit; a trigger in the database notes every
change of a status. Then all three are compared. Leases are 3 seconds, and observation is 1 second.

| Figure | Must be 0: the number of |
| --- | --- |
| `lost` | accepted jobs that are not there, or are done and never ran |
| `dup_start` | starts without an attempt on record, or beyond those that a job may have |
| `dup_done` | second ends, and effects in the database that came twice |
| `overlap` | attempts that began while an earlier one of the job lived |
| `orphans` | processes that outlived their worker or their abort |
| `limbo` | jobs that did not end, and did not wait for a reason |
| `log_gap` | lines missing from logs of jobs whose worker lived |
| `innocents` | processes of others that were ended |
| `zombies` | ended processes that no worker has reaped |
| `early` | starts before their time |
| `untold` | failures of which no message came, and messages beyond one for each |

`stale` need not be 0: attempts of frozen processes that came to their end after another had begun. Their writes are
refused.
"""


def text(results: list[Result]) -> str:
    found = latest(results)
    parts = [HEAD, ran(results), storms(found), crashes(results), others(found), goals(results), faults(found)]
    return "\n".join(filter(None, [*parts, peers(found), bad(results)]))


def latest(results: Iterable[Result]) -> dict[tuple[str, str], Result]:
    """The last result of each trial and database."""
    return {(result["name"], result["database"]): result for result in results}


def ran(results: list[Result]) -> str:
    if not results:
        return "Nothing has been run yet.\n"
    on = results[-1]["on"]
    times = sorted(result["at"] for result in results)
    jobs = sum(result.get("figures", {}).get("jobs", 0) for result in results)
    faults = sum(result.get("figures", {}).get("faults", 0) for result in results)
    versions = ", ".join(f"{name} {number}" for name, number in on.items() if name not in ("system", "processors"))
    return (
        f"From {times[0]} to {times[-1]} UTC, {len(results)} runs: {faults:,} faults, {jobs:,} jobs."
        f" {on['system']}, {on['processors']} processors, which other work shared in most runs; {versions}.\n"
    )


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    names = list(head)
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)]) + "\n"


def wrong(result: Result) -> str:
    """The figures that are not 0, and the number of other violations."""
    figures = result.get("figures", {})
    named = [f"{name} {figures[name]}" for name in ZEROS if figures.get(name)]
    if result.get("status") and not named:
        number = max(1, len(result.get("violations", ())))
        named = [f"{number} violation{'s' * (number > 1)}" + ", explained below" * ("explained" in result)]
    more = f"; stale {figures['stale']}" if figures.get("stale") else ""
    return (", ".join(named) or "all 0") + more


def seconds(result: Result) -> str:
    recovery = result.get("figures", {}).get("recovery", {})
    return " / ".join(f"{recovery[name]:.1f}" for name in ("p50", "p99", "max")) if recovery else ""


def counts(result: Result) -> tuple[int, int]:
    return result["figures"]["faults"], result["figures"]["jobs"]


def storms(found: dict[tuple[str, str], Result]) -> str:
    rows = [
        (
            name,
            database,
            result["figures"]["faults"],
            result["figures"]["jobs"],
            wrong(result),
            seconds(result),
            result["seed"],
        )
        for (name, database), result in found.items()
        if "jobs" in result.get("figures", {}) and name not in (*CRASHES, *LONGER)
    ]
    head = ("Storm", "Database", "Rounds", "Jobs", "Figures", "Recovery: p50 / p99 / longest, s", "Seed")
    return "## Storms\n\nThe last run of each.\n\n" + table(head, sorted(rows))


def crashes(results: list[Result]) -> str:
    rows = []
    for name, database in product(CRASHES, ("sqlite", "postgresql", "mariadb")):
        runs = [result for result in results if (result["name"], result["database"]) == (name, database)]
        points = turns(results, name, database)
        if runs:
            hit = sum(1 for number in points.values() if number)
            marks = ", ".join(sorted({wrong(run) for run in runs}))
            seeds = ", ".join(str(run["seed"]) for run in runs)
            crashed = f"{hit} of {len(points)}", sum(points.values())
            rows.append((database + CRASHES[name], *crashed, marks, seconds(runs[-1]), seeds))
    head = ("Database", "Points", "Crashes", "Figures", "Recovery: p50 / p99 / longest, s", "Seeds")
    explained = (
        "A process kills itself before or after a statement that commits, a commit, or a message: parents, children,"
        " fork servers, people, and processes of Celery. The points are found while it runs.\n\n"
    )
    return "## Crash points\n\n" + explained + table(head, rows)


def turns(results: list[Result], name: str, database: str) -> Counter[str]:
    """How often a process was killed at each point that was seen."""
    points: Counter[str] = Counter()
    for result in results:
        if (result["name"], result["database"]) == (name, database):
            points.update(result["points"])
    return points


def others(found: dict[tuple[str, str], Result]) -> str:
    rows = [
        (
            name,
            database,
            "passed" if not result["status"] else "FAILED",
            " ".join(result.get("said", [])[-1:])[:160],
            result["seed"],
        )
        for (name, database), result in found.items()
        if name in LONGER
    ]
    head = ("Trial", "Database", "Outcome", "Its last line", "Seed")
    return "## Longer trials of one kind\n\n" + table(head, rows) if rows else ""


def goals(results: list[Result]) -> str:
    def total(names: Iterable[str], figure: str = "faults") -> int:
        return sum(result.get("figures", {}).get(figure, 0) for result in results if result["name"] in names)

    def both(names: Iterable[str]) -> str:
        return f"{worst(names, alone=True)} (beside other work {worst(names, alone=False)})"

    def worst(names: Iterable[str], *, alone: bool) -> str:
        found = [
            result["figures"]["recovery"]["p99"]
            for result in results
            if result["name"] in names and seconds(result) and result.get("alone", False) is alone
        ]
        return f"{max(found):.2g} s" if found else "not run"

    def not_zero(names: Iterable[str]) -> str:
        said = [wrong(result) for result in results if result["name"] in names]
        found = Counter(each for each in said if not each.startswith("all 0"))
        return "; ".join(f"{number} × {what}" for what, number in found.items()) or "all 0"

    def last_lines(name: str) -> str:
        found = [result for result in latest(results).values() if result["name"] == name]
        told = [f"{result['database']}: {' '.join(result['said'][-1:])}" for result in found]
        return "; ".join(told) or "not run"

    kills, aborts = [*KILLS, "kills", "upgrades", *CRASHES], ["abort what runs", "abort hostile trees", "trees"]
    freezes, restarts = [*FREEZES, "freezes", "silences"], [*SERVERS, "restarts"]
    tested = sum(bool(case.tests) for case in CASES.values())
    trees = 3 * total(aborts[1:2]) + total(aborts[2:])
    process, worker, machine = map(both, (KILLS[:1], KILLS[1:2], KILLS[2:4]))
    every = {result["name"] for result in results}
    rows = [
        ("M1", "3,000 kill rounds, 20,000 jobs, all 0",
         f"{total(kills):,} rounds, {total(every, 'jobs'):,} jobs: {not_zero(kills)}"),
        ("M2", "1,500 crashes at every point, all 0", f"{total(CRASHES):,} crashes: {not_zero(CRASHES)}"),
        ("M3", "recovery p99: process 1 s, worker 3 s, machine 30 s",
         f"process {process}; worker {worker}; machine {machine} with a lease of 3 s"),
        ("M4", "aborts p99 2 s, no orphan in 1,000 trees",
         f"aborts {both(aborts[:1])}; {trees:,} trees: {not_zero(aborts)}"),
        ("M5", "200 freezes and 200 cut-off workers, no stale write",
         f"{total(freezes):,} rounds: {not_zero(freezes)}"),
        ("M6", "200 restarts of each server, 5 s to go on",
         f"{total(restarts)} restarts and lost sessions: {not_zero(restarts)}, p99 {both(restarts)}"),
        ("M7", "20,000 races of aborts", last_lines("races")),
        ("M8", "10 schedulers, 500 slots; 200 rules in 60 zones for 2 years",
         f"{last_lines('firing')}. {last_lines('zones')}"),
        ("M9", "a model of the lease protocol", last_lines("model")),
        ("M10", "a soak of 100,000 jobs", last_lines("soak")),
        ("M11", "two releases together", f"beside the first code with these tables: {last_lines('upgrades')}"),
        ("M12", "56 of 56 cases of security", f"{tested} have tests, the others cannot arise here"),
    ]  # fmt: skip
    return "## Goals\n\n" + table(("", "Goal", "Reached"), rows)


def faults(found: dict[tuple[str, str], Result]) -> str:
    tests: dict[str, list[str]] = {}
    for (name, _), result in found.items():
        if name == "tests":
            for test, outcome in result["tests"].items():
                tests.setdefault(test, []).append(outcome)
    rows = []
    for number, fault in FAULTS.items():
        how = [*fault.storms, *(f"trial `{name}`" for name in fault.trials)]
        if fault.tests:
            how.append(f"{len(fault.tests)} test{'s' * (len(fault.tests) > 1)}")
        outcomes = [wrong(result) for (name, _), result in found.items() if name in (*fault.storms, *fault.trials)]
        outcomes += [each for test in fault.tests for each in tests.get(test.partition("::")[2], [])]
        rows.append(
            (number, fault.title, fault.expected, ", ".join(how) or f"not here: {fault.not_here}", summed(outcomes))
        )
    return "## Every fault\n\n" + table(("", "Fault", "Expected", "Injected by", "Outcomes"), rows)


def summed(outcomes: Iterable[str]) -> str:
    return ", ".join(f"{number} × {outcome}" for outcome, number in Counter(outcomes).most_common()) or "not run"


def peers(found: dict[tuple[str, str], Result]) -> str:
    runs = [result for result in found.values() if "peer" in result]
    if not runs:
        return ""
    names = list(dict.fromkeys(result["peer"] for result in runs))
    cells = {(result["fault"], result["peer"]): result["told"] for result in runs}
    rows = [
        (fault, *(cells.get((fault, name), "not run") for name in names))
        for fault in dict.fromkeys(result["fault"] for result in runs)
    ]
    explained = (
        "The same faults done to other queues, to show that the trials can fail: jobs that never ended within the time"
        " (`stuck`), started more than once (`again`), or ran twice at once (`overlap`), of 12 in each cell. All have"
        " their defaults, and SQLite. A default may be a choice: not to repeat a job leaves that to a person.\n\n"
    )
    return "## Other queues\n\n" + explained + table(("Fault", *names), rows)


def bad(results: list[Result]) -> str:
    lines = [
        f"- {result['name']}, {result['database']}, seed {result['seed']}, {result['at']}: `{violation[:300]}`"
        + "".join(f" {result[name]}" for name in ("explained", "remark") if name in result)
        for result in results
        for violation in result.get("violations", ())[:3]
    ]
    return "## What was not as it must be\n\n" + ("\n".join(lines) if lines else "Nothing.") + "\n"
