"""``python -m tests.chaos TRIAL``: runs one trial on the database that QORWORKER_TEST_DATABASE names.

A trial is a module of this package with ``add_arguments(parser)`` and ``run(options) -> int``, the exit status.
``options.seed`` is a number for all of them: the same seed repeats the same decisions.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

TRIALS = (
    "crashes", "firing", "freezes", "handovers", "kills", "model", "peers", "races", "report", "restarts", "silences",
    "soak", "storms", "trees", "upgrades", "zones",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    set_up()
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    trials = parser.add_subparsers(dest="trial", required=True)
    for name in filter(exists, TRIALS):
        module = import_module(f"tests.chaos.{name}")
        trial = trials.add_parser(name, help=(module.__doc__ or "").partition("\n")[0])
        # Here as well, so that it may follow the name. Without a default: that would hide one given before the name.
        trial.add_argument("--seed", type=int, default=argparse.SUPPRESS)
        trial.add_argument("--json", type=Path, help="write faults, jobs and violations into this file, if counted")
        module.add_arguments(trial)
        trial.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}", flush=True)
    return int(options.run(options))


def set_up() -> None:
    """Load Django with a database name and a folder of its own, so that a run of pytest is not disturbed."""
    os.environ["QORWORKER_TEST_NAME"] = os.environ.get("QORWORKER_TEST_NAME", "qorworker_test") + "_chaos"
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()


def exists(name: str) -> bool:
    return find_spec(f"tests.chaos.{name}") is not None


if __name__ == "__main__":
    sys.exit(main())
