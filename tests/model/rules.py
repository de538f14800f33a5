"""The rules that keep a job with one owner, each with the place where the code keeps it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    says: str
    file: str  # below qorworker/
    name: str  # of the function or class in there


RULES: dict[str, Rule] = {
    "exclusive": Rule("a claim takes only a job that still waits", "models/sql/claims.py", "claim_statement"),
    "counted": Rule("the claim counts the attempt, before any code of it runs", "models/sql/claims.py", "ownership"),
    "limited": Rule("a lost attempt is the last one if no other is left", "status.py", "next_status"),
    "fenced": Rule("an end is written only with the token of the job", "models/sql/attempts.py", "update_sqlite"),
    "cleared": Rule("with the end the token is gone", "models/sql/attempts.py", "_assigned"),
    "renewed": Rule("a worker renews the leases of its attempts", "worker/parent/watchdog.py", "Watchdog.renew"),
    "expired": Rule("only a job whose lease is past is taken over", "models/leases.py", "expired_leases"),
    "observed": Rule(
        "only after the lease was seen unchanged for a while", "maintenance/reaper.py", "Reaper.rescue_expired"
    ),
    "patient": Rule(
        "and that while is longer than the time between two renewals", "database/answers.py", "renewal_interval"
    ),
    "undisturbed": Rule("an outage begins that while anew", "maintenance/reaper.py", "Reaper.still_counts"),
    "unmoved": Rule("and only if the lease has not changed since then", "models/leases.py", "seize"),
    "reaped": Rule("each worker looks for such jobs", "worker/parent/housekeeping.py", "Housekeeping._reap"),
    "proved": Rule(
        "without that wait only a job whose worker is provably gone is settled, and what it left is ended first",
        "maintenance/reaper.py",
        "Reaper.rescue_from_dead_neighbours",
    ),
    "overdue": Rule(
        "a worker whose renewal is overdue starts nothing", "worker/parent/watchdog.py", "Watchdog.is_overdue"
    ),
    "heeded": Rule("an attempt that has lost its job is stopped", "worker/parent/stopping.py", "Stopping.abandon"),
    "ended": Rule(
        "an attempt that may be repeated is stopped before its lease ends, even if its worker is frozen or cut off",
        "worker/forkserver.py",
        "ForkServer",
    ),
    "together": Rule("the processes of a worker end with it", "worker/forkserver.py", "ForkServer"),
    "alone": Rule(
        "a worker takes no job of which an earlier attempt still runs in it", "worker/parent/intake.py", "Intake._take"
    ),
    "remembered": Rule(
        "a claim without an answer is looked for until its lease would be over",
        "worker/parent/unanswered.py",
        "UnansweredClaims.recover",
    ),
    "buried": Rule(
        "an aborted job has ended when its processes have", "worker/parent/dispatcher.py", "Dispatcher.on_exit"
    ),
    "kept": Rule("a job whose abort was requested is not queued again", "status.py", "heeding"),
}  # fmt: skip
