"""Records the tables of a release with rows in them, and restores them in another database.

After a release, in its tag: ``python -m tests.released.states 1.0.0``. Rows are taken and put back by plain SQL, so
that no model of today has a part in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
FILL = """
import datetime as dt
from qorworker import Batch, Calendar, Every, Schedule
from example_project.reports.jobs import nightly_report
from example_project.shop.jobs import end_of_day
end_of_day.enqueue()
end_of_day.using(run_after=dt.timedelta(days=1)).enqueue().pause(reason="for a release")
end_of_day.enqueue().cancel()
Calendar.objects.create(name="holidays")
Schedule.objects.create_for(end_of_day, Every(hours=1), name="hourly")
Batch.objects.enqueue("two of them", [end_of_day.bind(), end_of_day.bind()])
"""


def manage(folder: Path, *words: str) -> str:
    """Run a command of the example project on a database in *folder*."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "example_project.settings", "EXAMPLE_VAR": str(folder)}
    done = subprocess.run(
        [sys.executable, "manage.py", *words], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout


def record(folder: Path) -> dict[str, Any]:
    """Return the tables of today's code, with rows of all kinds."""
    manage(folder, "migrate")
    manage(folder, "shell", "-c", FILL)
    manage(folder, "runworker", "--batch", "--max-jobs", "1", "--processes", "1")
    lines = manage(folder, "showmigrations", "qorworker", "--plan").splitlines()
    return {"migration": lines[-1].split(".")[-1].split()[0], "tables": _tables(folder)}


def restore(folder: Path, state: dict[str, Any]) -> None:
    """Make the tables of a release, with its rows, in a new database in *folder*."""
    manage(folder, "migrate", "qorworker", state["migration"])
    with _database(folder) as connection:
        for table, (columns, rows) in state["tables"].items():
            connection.execute(f"DELETE FROM {table}")
            marks = ", ".join("?" * len(columns))
            quoted = ", ".join(f'"{column}"' for column in columns)
            connection.executemany(f"INSERT INTO {table} ({quoted}) VALUES ({marks})", rows)


def states() -> dict[str, dict[str, Any]]:
    """Return what was recorded, by version."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def _database(folder: Path) -> Any:
    import sqlite3

    return sqlite3.connect(folder / "example.sqlite3")


def _tables(folder: Path) -> dict[str, Any]:
    with _database(folder) as connection:
        names = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'qorworker_%' ORDER BY name"
        ).fetchall()
        tables = {}
        for (name,) in names:
            cursor = connection.execute(f"SELECT * FROM {name}")
            tables[name] = [column[0] for column in cursor.description], cursor.fetchall()
        return tables


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        (FOLDER / f"{sys.argv[1]}.json").write_text(json.dumps(record(Path(scratch)), indent=1) + "\n")
