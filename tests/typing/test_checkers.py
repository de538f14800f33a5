"""mypy and pyright find the wrong uses in ``samples``, line by line, and have nothing to say about the right ones."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SAMPLES = sorted((HERE / "samples").glob("[a-z]*.py"))
EXPECTED = re.compile(r"# error: (\+?)(\S+) \| (\S+) \| \"(.+)\"$")
NOTHING = "-"

Place = tuple[str, int]
Said = dict[Place, list[tuple[str, str]]]  # the code and the text of each error, by line

pytestmark = [pytest.mark.types, pytest.mark.timeout(900)]


def expected() -> Iterator[tuple[Place, re.Match[str]]]:
    for path in SAMPLES:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if found := EXPECTED.search(line):
                yield (path.name, number), found


def expected_of(checker: str) -> dict[Place, tuple[str, str]]:
    """The code of each error and a part of its text, by line."""
    wanted = {}
    for place, found in expected():
        only_with_plugin, mypy, pyright, text = found.groups()
        code = pyright if checker == "pyright" else NOTHING if only_with_plugin and checker == "mypy" else mypy
        if code != NOTHING:
            wanted[place] = code, text
    return wanted


def codes_in(said: Said) -> dict[Place, str]:
    return {place: ",".join(sorted({code for code, _ in errors})) for place, errors in said.items()}


def output_of(*command: str) -> str:
    environment = {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 1, f"{done.stdout}\n{done.stderr}"  # errors were found, and nothing else went wrong
    return done.stdout


def said_by_mypy(config: Path = HERE / "mypy.ini") -> Said:
    said: Said = defaultdict(list)
    output = output_of("mypy", "--config-file", str(config), "--output", "json", str(HERE / "samples"))
    for line in output.splitlines():
        error = json.loads(line)
        if error["severity"] == "error":
            said[Path(error["file"]).name, error["line"]].append((error["code"], error["message"]))
    return said


def said_by_mypy_with_its_plugin() -> Said:
    return said_by_mypy(ROOT / "pyproject.toml")


def said_by_pyright() -> Said:
    said: Said = defaultdict(list)
    output = output_of("pyright", "--outputjson", "--pythonpath", sys.executable, "--project", str(HERE))
    for error in json.loads(output)["generalDiagnostics"]:
        place = Path(error["file"]).name, error["range"]["start"]["line"] + 1
        said[place].append((error.get("rule", ""), error["message"]))
    # What is unknown because of another error on the line is no news.
    unknown = "reportUnknown"
    return {
        place: [(rule, text) for rule, text in errors if not rule.startswith(unknown)] or errors
        for place, errors in said.items()
    }


CHECKERS = {"mypy": said_by_mypy, "mypy with its plugin": said_by_mypy_with_its_plugin, "pyright": said_by_pyright}


@pytest.mark.parametrize("checker", CHECKERS)
def test_each_wrong_line_is_found_and_no_right_one_is(checker):
    said, wanted = CHECKERS[checker](), expected_of(checker)
    assert codes_in(said) == {place: code for place, (code, _) in wanted.items()}
    for place, (_, text) in wanted.items():
        assert any(text in message for _, message in said[place]), f"{place} does not name {text}: {said[place]}"


def test_every_comment_about_an_error_is_understood():
    marked = [line for path in SAMPLES for line in path.read_text().splitlines() if "# error" in line]
    assert len(marked) == len(list(expected()))
