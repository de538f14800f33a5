"""The files of ``example_project/deploy`` name commands, settings and addresses that exist, and fit each other."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands, load_command_class
from django.urls import resolve

from tests.fixtures import open_database, start, transactional_db  # noqa: F401
from tests.support import ended
from tests.testapp import jobs

DEPLOY = Path(__file__).resolve().parents[2] / "example_project" / "deploy"
READERS = ("settings.py", "deploy/settings.py", "deploy/urls.py")
SETTINGS = "".join((DEPLOY.parent / name).read_text() for name in READERS)
HEALTH_FILE = "/run/worker/health"


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


MANIFESTS = [
    each for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")) for each in documents(f"kubernetes/{path.name}")
]
PODS = [each["spec"]["template"]["spec"] for each in MANIFESTS if each["kind"] in ("Deployment", "Job")]
CONTAINERS = [each for pod in PODS for each in (*pod.get("initContainers", ()), *pod["containers"])]
(COMPOSE,) = documents("compose.yaml")
SERVICES = {name: each for name, each in COMPOSE["services"].items() if name != "database"}
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
UNIT = (DEPLOY / "systemd" / "shop-worker.service").read_text()


def unit_value(name: str) -> str:
    (value,) = re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)
    return value


def image_command() -> list[str]:
    (command,) = re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    return yaml.safe_load(command)


COMMANDS = {
    "image": image_command(),
    "unit": ["python", *shlex.split(unit_value("ExecStart"))[1:]],
    **{f"compose {name}": each["command"] for name, each in SERVICES.items()},
    **{f"kubernetes {each['name']}": each["command"] for each in CONTAINERS},
}


@pytest.mark.parametrize("where", COMMANDS)
def test_each_command_exists_with_these_options(where):
    program, *words = COMMANDS[where]
    if program == "gunicorn":
        assert words[-1] == "django.core.wsgi:get_wsgi_application()"
        return
    assert [program, words[0]] == ["python", "manage.py"]
    app = get_commands()[words[1]]
    command = app if not isinstance(app, str) else load_command_class(app, words[1])
    command.create_parser("manage.py", words[1]).parse_args(words[2:])


@pytest.mark.parametrize("where", [where for where in COMMANDS if "runworker" in COMMANDS[where]])
def test_each_worker_has_more_time_to_stop_than_its_grace(where):
    words = COMMANDS[where]
    grace = int(words[words.index("--grace") + 1])
    seconds = {
        "image": 75,  # as the page says; an image cannot
        "unit": int(unit_value("TimeoutStopSec")),
        "compose worker": int(SERVICES["worker"]["stop_grace_period"].removesuffix("s")),
        "kubernetes worker": next(pod for pod in PODS if pod["containers"][0]["name"] == "worker")[
            "terminationGracePeriodSeconds"
        ],
    }
    assert seconds[where] >= grace + 15


def test_each_variable_is_one_that_the_settings_read():
    (config,) = [each for each in MANIFESTS if each["kind"] == "ConfigMap"]
    known = set(re.findall(r"EXAMPLE_[A-Z_]+", SETTINGS)) | {
        f"EXAMPLE_DATABASE_{name}" for name in ("NAME", "HOST", "PORT", "USER", "PASSWORD")
    }
    named = {*config["data"], *COMPOSE["x-shop"]["environment"], *re.findall(r"(EXAMPLE_[A-Z_]+)=", DOCKERFILE)}
    assert named - known == set()
    assert {"EXAMPLE_SECRET_KEY", "EXAMPLE_HOSTS"} <= named


def test_the_extras_of_the_image_are_those_of_the_package():
    import tomllib

    (extras,) = re.findall(r'"\.\[([a-z,]+)\]"', DOCKERFILE)
    project = tomllib.loads((DEPLOY.parents[1] / "pyproject.toml").read_text())["project"]
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_nothing_runs_as_root_and_the_file_system_is_read_only():
    (user,) = re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)
    assert int(user) > 0
    assert all(each["user"] == user and each["read_only"] for each in SERVICES.values())
    for pod in PODS:
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == int(user)
    for each in CONTAINERS:
        locked = each["securityContext"]
        assert (locked["readOnlyRootFilesystem"], locked["allowPrivilegeEscalation"]) == (True, False)
        assert locked["capabilities"]["drop"] == ["ALL"]


def test_jobs_get_no_token_of_the_cluster():
    assert [pod["automountServiceAccountToken"] for pod in PODS] == [False] * len(PODS)


def test_a_job_without_memory_does_not_end_the_others():
    assert unit_value("OOMPolicy") == "continue"


def test_the_database_is_asked_where_the_site_asks_it():
    # While its image sets it up, it answers at its socket only.
    assert "--host 127.0.0.1" in COMPOSE["services"]["database"]["healthcheck"]["test"][-1]


def test_the_probe_of_the_site_names_a_host_that_it_has(monkeypatch):
    (code,) = SERVICES["web"]["healthcheck"]["test"][3:]
    monkeypatch.setenv("EXAMPLE_HOSTS", "shop.example,www.shop.example")
    asked = []
    monkeypatch.setattr("urllib.request.urlopen", asked.append)
    exec(code)
    assert [request.get_header("Host") for request in asked] == ["shop.example"]


def test_what_is_written_has_a_place():
    for pod in PODS:
        volumes = {volume["name"] for volume in pod["volumes"]}
        for each in (*pod.get("initContainers", ()), *pod["containers"]):
            paths = {mount["mountPath"] for mount in each["volumeMounts"]}
            assert {mount["name"] for mount in each["volumeMounts"]} <= volumes
            assert {"/tmp", "/var/lib/shop"} <= paths
            assert str(Path(HEALTH_FILE).parent) in paths or HEALTH_FILE not in each["command"]
    assert "/run/worker" in " ".join(SERVICES["worker"]["tmpfs"])
    assert "EXAMPLE_VAR=/var/lib/shop" in DOCKERFILE


def test_the_probes_of_workers_look_at_the_file_that_is_touched():
    (worker,) = [each for each in CONTAINERS if each["name"] == "worker"]
    for command in (worker["command"], SERVICES["worker"]["command"], image_command()):
        assert command[command.index("--health-file") + 1] == HEALTH_FILE
    for probe in (worker["startupProbe"]["exec"]["command"], worker["livenessProbe"]["exec"]["command"]):
        assert HEALTH_FILE in " ".join(probe)
    assert HEALTH_FILE in SERVICES["worker"]["healthcheck"]["test"][1]


@pytest.mark.parametrize(("age", "status"), [(0, 0), (300, 1), (None, 1)])
def test_the_liveness_probe_finds_a_file_that_is_no_longer_touched(tmp_path, age, status):
    (worker,) = [each for each in CONTAINERS if each["name"] == "worker"]
    file = tmp_path / "health"
    if age is not None:
        file.touch()
        os.utime(file, (file.stat().st_mtime - age,) * 2)
    probe = [word.replace(HEALTH_FILE, str(file)) for word in worker["livenessProbe"]["exec"]["command"]]
    assert subprocess.run(probe, stderr=subprocess.DEVNULL).returncode == status


@pytest.fixture
def production(monkeypatch, tmp_path):
    """The settings of production."""
    pytest.importorskip("prometheus_client")
    monkeypatch.setenv("EXAMPLE_SECRET_KEY", "a key")
    monkeypatch.setenv("EXAMPLE_HOSTS", "shop.example")
    monkeypatch.setenv("EXAMPLE_VAR", str(tmp_path))
    monkeypatch.setenv("EXAMPLE_METRICS_TOKEN", "swordfish")
    for name in ("example_project.deploy.settings", "example_project.deploy.urls"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("example_project.deploy.settings")


def test_the_probes_of_the_site_ask_addresses_that_it_has(production):
    urls = importlib.import_module("example_project.deploy.urls")
    (web,) = [each for each in CONTAINERS if each["name"] == "web"]
    for probe in (web["livenessProbe"]["httpGet"], web["readinessProbe"]["httpGet"]):
        assert resolve(probe["path"], urlconf=urls).app_name == "qorworker_health"
        assert probe["httpHeaders"] == [{"name": "Host", "value": "shop.example"}]
        assert probe["port"] == web["ports"][0]["name"]
    address = re.search(r"127\.0\.0\.1:8000(/[a-z/]+)", SERVICES["web"]["healthcheck"]["test"][-1])
    assert resolve(address[1], urlconf=urls).url_name == "ready"
    assert resolve("/metrics", urlconf=urls)


def test_the_settings_of_production_are_safe(production):
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "ERROR"]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": production.__name__, "EXAMPLE_SECRET_KEY": "k" * 60}
    done = subprocess.run(command, cwd=DEPLOY.parents[1], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert production.DEBUG is False
    assert "qorworker.E" not in done.stderr


def test_selectors_find_what_they_are_for():
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in MANIFESTS if each["kind"] == "Deployment"]
    for each in MANIFESTS:
        selector = each["spec"].get("selector", {}) if each["kind"] != "ConfigMap" else {}
        if wanted := selector.get("matchLabels", selector):
            assert wanted in labels


def test_there_are_two_workers_and_each_service_waits_for_what_it_needs():
    assert SERVICES["worker"]["deploy"]["replicas"] == 2
    for name, service in SERVICES.items():
        assert set(service["depends_on"]) <= set(COMPOSE["services"]), name
    assert "healthcheck" in COMPOSE["services"]["database"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_takes_the_unit(tmp_path):
    here = UNIT.replace("/srv/shop/venv/bin/python", sys.executable).replace("User=shop", "User=daemon")
    unit = tmp_path / "shop-worker.service"
    unit.write_text(here)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert unit.name not in done.stderr


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_refuses_a_unit_with_a_line_that_it_does_not_know(tmp_path):
    unit = tmp_path / "shop-worker.service"
    unit.write_text(UNIT.replace("/srv/shop/venv/bin/python", sys.executable).replace("KillMode=mixed", "KillMode=odd"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True)
    assert "odd" in done.stderr


@pytest.mark.process
@pytest.mark.once
def test_a_worker_may_be_process_one(start):  # noqa: F811
    """As in a container without an init process: it gets the signal itself, and ends in order."""
    program = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, "-m", "django")
    worker = start(processes=1, program=program)
    assert "1" in Path(f"/proc/{worker.pid}/status").read_text().partition("NSpid:")[2].splitlines()[0].split()[1:]
    assert ended(jobs.noop.enqueue()).status == "done"
    worker.signal(15)
    assert worker.exit_status() == 0
    assert "has stopped" in worker.said
