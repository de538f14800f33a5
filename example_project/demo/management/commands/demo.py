"""``manage.py demo``: prepares the example project and runs worker and site until Ctrl-C."""

from __future__ import annotations

import math
import os
import sys
from http.client import HTTPConnection
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser
from django.db import OperationalError, connection

from example_project.demo import data
from example_project.demo.check import run_and_abort
from example_project.demo.processes import Processes


class Command(BaseCommand):
    help = "Fills the example project with data and runs its worker and site; Ctrl-C ends both."
    requires_system_checks = ()  # they may need the database, which the demo may have to make

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="The site's port (default: %(default)s).")
        parser.add_argument(
            "--database",
            choices=("sqlite", "postgresql", "mariadb"),
            help="Which database; the same as the environment variable EXAMPLE_DATABASE.",
        )
        parser.add_argument(
            "--check",
            action="store_true",
            help="Ask nothing and serve nothing: run one job to its end and abort another, on a scratch database.",
        )

    def handle(self, *args: Any, port: int, database: str | None, check: bool, **options: Any) -> None:
        if database and database != os.environ.get("EXAMPLE_DATABASE", "sqlite"):
            # The settings are already loaded, with another database: start anew.
            os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "EXAMPLE_DATABASE": database})  # noqa: S606
        if check:
            run_and_abort(self.stdout.write)
            self.stdout.write(self.style.SUCCESS("Both jobs ended as they should."))
        else:
            self.serve(port)

    def serve(self, port: int) -> None:
        make_database()
        call_command("migrate", verbosity=0)
        admin = data.make_users()
        data.make_rows()
        data.enqueue_jobs(admin)
        address = f"http://127.0.0.1:{port}/admin/"
        try:
            with Processes() as processes:
                processes.start("runworker", "--grace", "5")
                processes.start("runserver", "--noreload", f"127.0.0.1:{port}")
                processes.wait_until(lambda: answers(port), f"the site on port {port}")
                self.stdout.write(WELCOME.format(address=address, mail=settings.MAIL_FOLDER, sample=data.SAMPLE))  # type: ignore[misc]
                processes.wait_until(lambda: False, "Ctrl-C", limit=math.inf)
        except KeyboardInterrupt:
            self.stdout.write("Worker and site have stopped.")


WELCOME = """
  The example project runs at {address}

    admin / admin         may do everything
    operator / operator   may import products and run reports, but not send the newsletter

  The newsletter's send password is "letters"; its mails go to {mail}
  A file to import: {sample}
  Ctrl-C stops worker and site.
"""


def make_database() -> None:
    """Make the demo's database on its server, if it is not there; SQLite makes its file by itself."""
    try:
        connection.ensure_connection()
    except OperationalError:
        name = connection.ops.quote_name(connection.settings_dict["NAME"])
        letters = " CHARACTER SET utf8mb4" if connection.vendor == "mysql" else ""
        with connection._nodb_cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}{letters}")


def answers(port: int) -> bool:
    site = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        site.request("GET", "/admin/login/")
        return site.getresponse().status == 200
    except OSError:
        return False
    finally:
        site.close()
