"""``python -m tests.themes.serve``: every page under the theme of the settings, until its standard input is closed.

Prints one line of JSON: where the site is, the session of somebody who may do everything and of somebody who may only
look, and the addresses of the pages.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

import django


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.themes.settings")
    django.setup()
    from django.conf import settings
    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.core.management import call_command
    from django.core.servers.basehttp import ThreadedWSGIServer
    from django.core.wsgi import get_wsgi_application
    from django.test.testcases import QuietWSGIRequestHandler

    Path(settings.DATABASES["default"]["NAME"]).unlink(missing_ok=True)
    call_command("migrate", run_syncdb=True, verbosity=0)

    from tests.admin import every_kind
    from tests.admin.support import BASE, only_these_types, superuser, user_with
    from tests.testapp.models import Shop
    from tests.themes.pages import addresses

    Shop.objects.create(name="Berlin")
    owner, viewer = superuser(), user_with("qorworker.view_job", name="viewer")
    with only_these_types() as types:
        every_kind.declare()
        server = ThreadedWSGIServer(("127.0.0.1", 0), QuietWSGIRequestHandler)
        server.set_app(StaticFilesHandler(get_wsgi_application()))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        site = {
            "theme": settings.THEME,
            "url": f"http://127.0.0.1:{server.server_port}",
            "sessions": {user.get_username(): session_of(user) for user in (owner, viewer)},
            "pages": {**addresses(types, owner), "denied": BASE + "run/tests.greet/"},
        }
        print(json.dumps(site), flush=True)
        sys.stdin.read()


def session_of(user: object) -> str:
    from django.conf import settings
    from django.test import Client

    client = Client()
    client.force_login(user)
    return str(client.cookies[settings.SESSION_COOKIE_NAME].value)


if __name__ == "__main__":
    main()
