"""The pictures of the README are not older than the pages that they show."""

from __future__ import annotations

import importlib.util
import re

import pytest
from django.test.signals import template_rendered

from tests.admin.support import BASE, in_state, page_of, superuser
from tests.support import ROOT

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def pictures():
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "docs" / "pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_they_were_made_from_the_pages_as_they_are_now(pictures):
    now, then = pictures.digests(), pictures.recorded()
    changed = sorted(path for path in now.keys() | then.keys() if now.get(path) != then.get(path))
    assert changed == [], "the pages have changed: run “python docs/pictures.py” and look at the pictures"


@pytest.mark.django_db
def test_every_template_and_style_that_they_show_counts(pictures, client):
    own, seen = "admin/qorworker/", set()

    def note(template, **more):
        seen.add(template.name or "")

    client.force_login(superuser())
    job = in_state("newsletter.send_newsletter", "running")
    template_rendered.connect(note)
    try:
        pages = [client.get(url) for url in (BASE.replace("job/", ""), BASE + "catalogue/", page_of(job))]
    finally:
        template_rendered.disconnect(note)
    assert [page.status_code for page in pages] == [200] * 3
    known = pictures.digests()
    assert {f"templates/{name}" for name in seen if name.startswith(own)} - known.keys() == set()
    styles = {path for page in pages for path in re.findall(r"/(qorworker/[a-z]+\.css)", page.content.decode())}
    assert styles
    assert {f"static/{path}" for path in styles} - known.keys() == set()
