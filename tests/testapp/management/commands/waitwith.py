"""A command that writes, starts a process and waits, for tests with real workers."""

import os
import subprocess
import sys
import time

from django.core.management.base import BaseCommand, CommandError

from tests.testapp.jobs import tell


class Command(BaseCommand):
    help = "Waits."

    def add_arguments(self, parser):
        parser.add_argument("ledger")
        parser.add_argument("--token")
        parser.add_argument("--seconds", type=float, default=600.0)
        parser.add_argument("--fail", action="store_true")

    def handle(self, ledger, token, seconds, fail, **options):
        self.stdout.write(self.style.SUCCESS(f"waiting with {token}"))
        self.stderr.write("it may take long")
        print("printed")
        os.write(2, b"from below Python\n")
        child = subprocess.Popen(["sleep", "600"])
        tell(ledger, os.getpid(), sys.argv.count(token or ""))
        try:
            time.sleep(seconds)
        finally:
            child.kill()
            child.wait()
            self.stdout.write("tidied up")
        if fail:
            raise CommandError("Nothing came.", returncode=4)
        return "nothing more"
