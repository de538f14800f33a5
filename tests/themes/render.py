"""``python -m tests.themes.render``: every page under the theme of the settings; prints status and text as JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path

import django


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.themes.settings")
    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.test import Client
    from django.test.utils import setup_test_environment

    Path(settings.DATABASES["default"]["NAME"]).unlink(missing_ok=True)
    setup_test_environment()
    call_command("migrate", verbosity=0)

    from tests.admin.support import only_these_types, superuser

    client = Client()
    client.force_login(superuser())
    with only_these_types() as types:
        pages = {name: client.get(url) for name, url in addresses(types).items()}
        told = {name: [page.status_code, page.content.decode()] for name, page in pages.items()}
    print(json.dumps(told))


def addresses(types: dict) -> dict[str, str]:
    from tests.admin.support import BASE, a_worker, in_state, page_of, stored
    from tests.security.people import a_schedule, told

    greet = types["greet"]
    failed, running, waiting = (
        in_state(greet, state, arguments=stored(greet, subject="Tea"))
        for state in ("exception", "running", "scheduled")
    )
    told(failed)
    schedules, schedule = BASE.replace("/job/", "/schedule/"), a_schedule(running)
    worker = a_worker(name="web-1:7")
    return {
        "index": "/admin/qorworker/",
        "catalogue": f"{BASE}catalogue/",
        "table": f"{BASE}catalogue/?view=table",
        "run": f"{BASE}run/tests.greet/",
        "run with rows": f"{BASE}run/tests.upload/",
        "list": BASE,
        "empty list": f"{BASE}?tab=cancelled",
        "failed": page_of(failed),
        "running": page_of(running),
        "scheduled": page_of(waiting),
        "delete": page_of(failed, "delete/"),
        "schedules": schedules,
        "schedule": f"{schedules}{schedule.pk}/change/",
        "new schedule": f"{schedules}add/?job=tests.greet",
        "calendar": f"{schedules}calendar/",
        "queues": BASE.replace("/job/", "/queue/"),
        "workers": BASE.replace("/job/", "/worker/"),
        "worker": f"{BASE.replace('/job/', '/worker/')}{worker.pk}/change/",
    }


if __name__ == "__main__":
    main()
