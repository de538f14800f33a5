"""The examples of README.md and docs/ run as written, and what they list is what there is."""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from django.apps import apps
from django.core.management import BaseCommand, get_commands, load_command_class

from example_project.shop import models as shop_models
from qorworker import JobStatus, conf
from qorworker.definitions import options
from qorworker.definitions.registry import registry
from qorworker.execution.execute import Work, execute
from qorworker.models import Job, Outcome

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
REFERENCE = ROOT / "docs" / "reference"
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOLLOWED = [ROOT / "docs" / "tutorial.md"]  # by test_tutorial, in a project of its own
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\S+)\.py\n")


def blocks(document: Path, pattern: re.Pattern[str] = PYTHON):
    """Each block of code with its line number."""
    text = document.read_text()
    return [(text.count("\n", 0, found.start(1)), found[1]) for found in pattern.finditer(text)]


def run(document: Path, monkeypatch) -> dict:
    """Run all blocks; one that starts with ``# shop/jobs.py`` becomes that module. Returns the other blocks' names."""
    names: dict = {"__name__": "readme"}
    for line, code in blocks(document):
        target = names
        if file := FILE.match(code):
            module = ModuleType(file[1].replace("/", "."))
            monkeypatch.setitem(sys.modules, module.__name__, module)
            target = module.__dict__
        exec(compile("\n" * line + code, str(document), "exec", dont_inherit=True), target)
    return names


@pytest.mark.once
def test_every_example_for_another_library_compiles():
    others = re.compile(r"^```py\n(.*?)^```", re.MULTILINE | re.DOTALL)
    examples = [(document, line, code) for document in DOCUMENTS for line, code in blocks(document, others)]
    assert len(examples) > 15
    for document, line, code in examples:
        compile("\n" * line + code, str(document), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.fixture
def shop_app(transactional_db, monkeypatch):
    """The app that the examples are about: that of the example project, under the name an app of one's own has."""
    monkeypatch.setitem(sys.modules, "shop", ModuleType("shop"))
    monkeypatch.setitem(sys.modules, "shop.models", shop_models)
    berlin = shop_models.Shop.objects.create(name="Berlin")
    for number in range(1, 4):
        shop_models.Product.objects.create(shop=berlin, sku=f"TEA-{number}", name="Tea", price=number, stock=1)
    before = set(registry.names())
    yield
    for name in set(registry.names()) - before:
        registry.unregister(name)


def outcome_of(job: Job) -> str:
    work = Work(
        id=job.pk, name=job.name, arguments=json.dumps(job.arguments), attempt=1, max_attempts=1, token="a test"
    )
    Job.objects.filter(pk=job.pk).transition(JobStatus.RUNNING, attempt_token=work.token)
    return execute(work, send=lambda record: None).outcome


@pytest.mark.parametrize(
    "document", [page for page in DOCUMENTS if page not in FOLLOWED], ids=lambda path: str(path.relative_to(ROOT))
)
def test_every_python_example_runs_and_the_jobs_it_enqueues_run_too(document, shop_app, monkeypatch):
    run(document, monkeypatch)
    for job in Job.objects.waiting():
        assert outcome_of(job) in (Outcome.DONE, Outcome.ROW_ERRORS)


def test_the_readme_has_examples_that_enqueue(shop_app, monkeypatch):
    run(README, monkeypatch)
    assert Job.objects.waiting().count() == 1
    assert Job.objects.cancelled().count() == 1


def test_the_settings_example_is_accepted(shop_app, monkeypatch, settings):
    settings.QORWORKER = run(REFERENCE / "settings.md", monkeypatch)["QORWORKER"]
    assert conf.problems() == []


def shown(name: str, value: object) -> str:
    if name == "QUEUES":
        return "one, named `default`"
    if name == "KEEP_FOR":
        return f"{value['done'].days} days; failed and aborted {value['exception'].days}"
    for unit, size in (("MiB", conf.MIB), ("KiB", conf.KIB)):
        if name.endswith(("_BYTES", "_MEMORY")) and isinstance(value, int) and value % size == 0:
            return f"{value // size} {unit}"
    return f"`{value!r}`"


def test_the_settings_table_lists_every_setting_with_its_default():
    rows = [
        f"| `{name}` | {shown(name, setting.default)} | {setting.reason} |" for name, setting in conf.SETTINGS.items()
    ]
    table = "\n".join(["| Setting | Default | Meaning |", "| --- | --- | --- |", *rows])
    assert table in (REFERENCE / "settings.md").read_text(), f"settings.md should have this table:\n{table}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_in_a_shell_example_exists(document):
    text = "\n".join(code for _, code in blocks(document, SHELL))
    commands = set(re.findall(r"manage\.py (\w+)", text))
    assert commands <= set(get_commands()) | {"demo"}


def options_of(command) -> set[str]:
    parser = command.create_parser("manage.py", "command")
    return {option for action in parser._actions for option in action.option_strings if option.startswith("--")}


def test_the_table_of_runworker_has_each_of_its_options():
    own = options_of(load_command_class("qorworker", "runworker")) - options_of(BaseCommand())
    rows = re.findall(r"^\| `(--[a-z-]+)", (ROOT / "docs" / "howto" / "workers.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(own)


def test_the_readme_names_only_options_that_runworker_has():
    section = README.read_text().split("## Running workers\n")[1].split("\n## ")[0].split("`manage.py runjob`")[0]
    named = set(re.findall(r"--[a-z-]+", section))
    assert len(named) >= 5
    assert named <= options_of(load_command_class("qorworker", "runworker"))


def test_the_table_of_job_options_has_each_of_them():
    lines = (REFERENCE / "job.md").read_text().splitlines()
    first_cells = [line.split("|")[1] for line in lines if line.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", " ".join(first_cells))) == sorted(options.NAMES)


@pytest.mark.once
def test_the_page_of_permissions_names_each_of_them():
    named = set(re.findall(r"`([a-z]+_[a-z_]+)`", (REFERENCE / "permissions.md").read_text()))
    declared = [
        codename
        for model in apps.get_app_config("qorworker").get_models()
        for codename in [
            *(f"{verb}_{model._meta.model_name}" for verb in model._meta.default_permissions),
            *dict(model._meta.permissions),
        ]
    ]
    assert len(declared) > 20
    assert named == set(declared)


def anchors(document: Path) -> set[str]:
    """Of its headings, as sites that show Markdown make them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_to_a_heading_finds_it():
    for document in DOCUMENTS:
        for link, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", document.read_text()):
            target = (document.parent / link).resolve() if link else document
            if target.suffix == ".md":
                assert anchor in anchors(target), f"{document.name} links to {link}#{anchor}"


def test_every_local_link_leads_somewhere():
    for document in DOCUMENTS:
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
            if "://" not in link:
                assert (document.parent / link).exists(), f"{document.name} links to {link}"


@pytest.mark.parametrize(("document", "rows"), [("albrow-jobs.md", 30), ("gocraft-work.md", 44)])
def test_every_file_that_a_guide_names_as_its_witness_is_there(document, rows):
    compared = [
        line.split("|")
        for line in (ROOT / "docs" / "coming-from" / document).read_text().splitlines()
        if line.count("|") == 4
    ]
    witnesses = [
        re.findall(r"`([^`]+)`", cells[3]) for cells in compared if cells[3].strip() not in ("---", "Shown by")
    ]
    assert len(witnesses) == rows
    assert [name for names in witnesses for name in names if not (ROOT / name).is_file()] == []


@pytest.mark.once
def test_every_page_is_listed_on_another():
    """In a toctree, so that the site leads to it."""
    pages = set()
    for document in DOCUMENTS:
        for tree in re.findall(r"^```{toctree}\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL):
            entries = [re.sub(r"^.* <(.+)>$", r"\1", line) for line in tree.splitlines() if line and line[0] != ":"]
            pages |= {(document.parent / f"{entry}.md").resolve() for entry in entries}
    assert sorted(pages) == sorted(set((ROOT / "docs").rglob("*.md")) - {ROOT / "docs" / "index.md"})


def test_every_picture_is_there():
    named = re.findall(r'(?:src|srcset)="(docs/images/[^"]+)"', README.read_text())
    assert len(named) == 6
    assert [name for name in named if not (ROOT / name).is_file()] == []
