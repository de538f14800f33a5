"""Workers of this code and of an earlier revision work side by side on one database, and are killed as in ``kills``.

Both must have the same migrations: the tables are made by this code, and no revision may need others.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos import kills
from tests.chaos.database import new_database
from tests.support import ROOT, Transitions, recorded_transitions, running_worker

MIGRATIONS = "qorworker/migrations"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=600.0, help="(default: %(default)s)")
    parser.add_argument("--before", help="the earlier revision (default: the first one with these migrations)")


def run(options: argparse.Namespace) -> int:
    with (
        earlier(options.before or git("log", "-1", "--format=%H", "--", MIGRATIONS)) as tree,
        new_database(),
        recorded_transitions() as transitions,
        tempfile.TemporaryDirectory() as folder,
    ):
        return kills.carry_out(Trial(random.Random(options.seed), Path(folder), transitions, tree), options)


@contextmanager
def earlier(revision: str) -> Iterator[Path]:
    """The files of an earlier revision, in a folder that is gone afterwards."""
    if git("diff", "--name-only", revision, "--", MIGRATIONS):
        sys.exit(f"{revision} has other migrations than this code, so both cannot work on the same tables.")
    if not git("diff", "--name-only", revision, "--", "qorworker"):
        sys.exit(f"{revision} has the same code.")
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "earlier")
        git("worktree", "add", "--detach", str(tree), revision)
        try:
            yield tree
        finally:
            git("worktree", "remove", "--force", str(tree))


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


class Trial(kills.Trial):
    """Each new worker is of the revision of which there are fewer."""

    def __init__(self, chance: random.Random, folder: Path, transitions: Transitions, tree: Path) -> None:
        super().__init__(chance, folder, transitions)
        self.trees = {"earlier": tree, "this": ROOT}
        self.started: Counter[str] = Counter()
        for path in self.trees.values():
            self.require_own_code(path)

    def require_own_code(self, tree: Path) -> None:
        """A worker that is started in this folder must run the code in it, and not what is installed."""
        command = [
            sys.executable,
            "-c",
            "import qorworker, tests; print(qorworker.__file__, tests.__file__, sep='\\n')",
        ]
        files = subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True).stdout.split()
        assert all(Path(file).is_relative_to(tree) for file in files), files

    def start(self) -> None:
        name = min(self.trees, key=lambda name: self.started[name])
        self.started[name] += 1
        worker = running_worker(
            "--grace", "2", folder=self.folder, processes=kills.PROCESSES, cwd=self.trees[name], **kills.OPTIONS
        )
        self.workers.append(self.stack.enter_context(worker))

    def figures(self) -> dict[str, object]:
        return {"workers": dict(self.started), **super().figures()}
