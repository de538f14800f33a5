"""The tutorial, followed to the letter: an empty folder becomes its project, and its import runs from the admin."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).resolve().parents[1] / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(python|sh|text)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\S+\.py)(, at the end)?\n")
ELSEWHERE = ("-m pip", "manage.py runserver", "manage.py runworker")  # installed, and run below as far as needed
AS_A_PERSON = """
import re
from django.test import Client
from qorworker import Job, Schedule

visitor = Client(SERVER_NAME="localhost")
assert visitor.login(username="admin", password="a long password")
address = "/admin/qorworker/job/run/shop.import_products/"
page = visitor.get(address).content.decode()
token = re.search('name="qw-token" value="([^"]+)"', page)[1]
with open("products.csv", "rb") as file:
    answer = visitor.post(address, {"qw-when": "now", "qw-token": token, "file": file})
assert answer.status_code == 302, answer.content.decode()
"""
LOOK = """
from qorworker import Job, Schedule

imported = Job.objects.for_type("shop.import_products").latest("pk")
assert imported.status == "exception", imported.status
assert imported.results_titles == ["SKU", "Name", "Price"], imported.results_titles
rows = [row.cells for row in imported.results.order_by("pk")]
print(rows)
print("expected:", *Schedule.objects.for_types(["shop.morning_report"]).get().upcoming(1))
print("done:", Job.objects.done().for_type("shop.import_products").count())
"""

pytestmark = [pytest.mark.once, pytest.mark.process]


class Project:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "QORWORKER_"))}
        login = {"USERNAME": "admin", "EMAIL": "a@shop.example", "PASSWORD": "a long password"}
        self.environment = kept | {f"DJANGO_SUPERUSER_{name}": value for name, value in login.items()}

    def write(self, code: str) -> None:
        found = FILE.match(code)
        assert found, code
        file = self.folder / found[1]
        before = file.read_text() if found[2] else ""
        file.write_text(before + code)

    def shell(self, lines: str) -> None:
        for line in lines.splitlines():
            if line.startswith("cd "):
                self.folder /= line.removeprefix("cd ")
            elif not any(words in line for words in ELSEWHERE):
                self.run(*shlex.split(line)[1:], *(["--noinput"] if "createsuperuser" in line else []))

    def run(self, *arguments: str, status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr


def test_who_follows_the_tutorial_gets_what_it_promises(tmp_path):
    project = Project(tmp_path)
    for language, block in BLOCK.findall(TUTORIAL.read_text()):
        if language == "sh":
            project.shell(block)
        elif language == "text":
            (project.folder / "products.csv").write_text(block)
            said = project.run("manage.py", "runjob", "shop.import_products", "--file", "products.csv", status=1)
            assert "cheap" in said
            assert "3 of 4" in said
        else:
            project.write(block)

    assert "{'file': ['This field is required.']}" in project.run("manage.py", "shell", "-c", "import shop.prices")
    project.run("manage.py", "shell", "-c", AS_A_PERSON)
    project.run("manage.py", "runworker", "--batch")
    seen = project.run("manage.py", "shell", "-c", LOOK)
    assert "Enter a number." in seen
    assert "This field is required." in seen
    assert "expected: 20" in seen
    assert "done: 1" in seen
