"""The documents for developers name only what there is: files, classes, functions, floors."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

from qorworker import conf

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "qorworker"
INTERNALS = ROOT / "docs" / "explanation" / "internals.md"
TABLES = [INTERNALS, ROOT / "docs" / "reference" / "glossary.md"]
DOCUMENTS = [*TABLES, ROOT / "CONTRIBUTING.md"]
BLOCK = re.compile(r"^```.*?^```\n", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
NAME = re.compile(r"\w+(?:\.\w+)*\(\)|_*[A-Z]\w*(?:\.\w+)*")
WITHIN = re.compile(r"`([^`]+)` (?:in|of|from|to) `([^`]+\.py)`")
ELSEWHERE = re.compile(r"QORWORKER|.*\.md$")  # the setting, variables of the environment, documents
OF_OTHERS = {"Decimal"}  # names of Python's own

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def lines_of(document: Path) -> list[str]:
    """Its lines without blocks of code."""
    return BLOCK.sub("", document.read_text()).splitlines()


def files_in(line: str) -> list[str]:
    return [span for span in SPAN.findall(line) if span.endswith(".py") and "*" not in span]


def names_in(line: str) -> list[str]:
    """The names of classes, functions and constants: with brackets, or with a capital at the beginning."""
    spans = [span for span in SPAN.findall(line) if NAME.fullmatch(span) and not ELSEWHERE.match(span)]
    return [span.removesuffix("()") for span in spans]


def from_the_file_on(line: str) -> str:
    """The cells of a table's row that say where something is: from the first one with a file on."""
    cells = line.split("|") if line.startswith("|") else []
    first = next((place for place, cell in enumerate(cells) if files_in(cell)), len(cells))
    return "|".join(cells[first:])


def path_of(name: str) -> Path:
    """A file of the repository, or of the package."""
    return ROOT / name if (ROOT / name).is_file() else PACKAGE / name


@cache
def defined_in(path: Path) -> frozenset[str]:
    """What a file defines: ``function``, ``Class``, ``Class.method``, ``CONSTANT``."""
    return frozenset(_defined(ast.parse(path.read_text()).body, ""))


def _defined(body: Iterable[ast.stmt], within: str) -> Iterator[str]:
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield within + node.name
            case ast.ClassDef():
                yield within + node.name
                yield from _defined(node.body, f"{within}{node.name}.")
            case ast.Assign(targets=targets):
                yield from (within + target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield within + name


@cache
def defined_anywhere() -> frozenset[str]:
    files = [*PACKAGE.rglob("*.py"), ROOT / "tests" / "support.py"]
    return frozenset().union(*map(defined_in, files)) | set(conf.SETTINGS) | OF_OTHERS


@documents
def test_every_file_that_is_named_exists(document):
    named = [name for line in lines_of(document) for name in files_in(line)]
    assert len(named) > 5
    assert [name for name in named if not path_of(name).is_file()] == []


@pytest.mark.parametrize("document", TABLES, ids=lambda path: path.name)
def test_every_name_beside_a_file_is_defined_in_it(document):
    rows = [located for line in lines_of(document) if (located := from_the_file_on(line))]
    assert len(rows) > 5
    wrong = []
    for row in rows:
        known = frozenset().union(*(defined_in(path_of(name)) for name in files_in(row)))
        wrong += [(name, files_in(row)) for name in names_in(row) if name not in known]
    assert wrong == []


@documents
def test_every_name_that_is_said_to_be_in_a_file_is_defined_in_it(document):
    said = WITHIN.findall(" ".join(lines_of(document)))
    wrong = [
        (span, file) for span, file in said for name in names_in(f"`{span}`") if name not in defined_in(path_of(file))
    ]
    assert wrong == []


@documents
def test_every_class_function_and_constant_that_is_named_exists(document):
    named = {name for line in lines_of(document) for name in names_in(line)}
    assert sorted(named - defined_anywhere()) == []


def test_what_counts_as_a_name_and_where_it_must_be(tmp_path):
    row = "| `Job` stops, as `new`. | `worker/pool.py` | `Pool.stop()`, `MOST` |"
    assert names_in(row) == ["Job", "Pool.stop", "MOST"]
    assert names_in(from_the_file_on(row)) == ["Pool.stop", "MOST"]
    assert files_in(row) == ["worker/pool.py"]
    file = tmp_path / "pool.py"
    file.write_text("MOST: int = 2\nclass Pool:\n    async def stop(self): ...\nready = False\n")
    assert defined_in(file) == {"MOST", "Pool", "Pool.stop", "ready"}


def test_the_floors_are_those_of_the_contract():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    section = INTERNALS.read_text().split("## The floors\n")[1].split("\n## ")[0]
    rows = [SPAN.findall(line.split("|")[1]) for line in section.splitlines() if line.startswith("| `")]
    assert rows == [re.split(r" [|:] ", layer) for layer in layers]
