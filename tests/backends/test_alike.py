"""The same jobs of the example project on every backend: what their pages tell differs only where a flag says so."""

import re
from contextlib import ExitStack
from html.parser import HTMLParser

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from example_project.newsletter.jobs import send_newsletter
from example_project.newsletter.models import Delivery, Subscriber
from example_project.reports.jobs import nightly_report
from example_project.shop.jobs import import_products
from example_project.shop.models import Product, Shop
from qorworker.queues import backend_of
from tests.backends import test_celery as celery
from tests.backends.processes import process
from tests.backends.test_crontab import CRON, ticking
from tests.support import ended

pytestmark = [pytest.mark.process, pytest.mark.only_on("sqlite")]
QUEUES = {
    **celery.queues("threads"),
    "now": {"BACKEND": "qorworker.backends.immediate.ImmediateBackend"},
    "cron": CRON,
}
ROWS = b"sku,name,price,stock\nA-1,Cup,1.20,3\nA-2,Pot,cheap,3\n"


class Text(HTMLParser):
    """What people read of the parts about the job."""

    def __init__(self, page):
        super().__init__()
        self.words, self.skipped = [], 0
        self.feed(page[page.index('id="content-main"') - 5 : page.index('<div id="qw-history">')])

    def handle_starttag(self, tag, attrs):
        self.skipped += tag in ("script", "style", "template")

    def handle_endtag(self, tag):
        self.skipped -= tag in ("script", "style", "template")

    def handle_data(self, data):
        if not self.skipped and data.strip():
            self.words.append(data.strip())


def text_of(client, job):
    """The page in words, without what is another for each job."""
    page = client.get(f"/admin/qorworker/job/{job.pk}/change/").content.decode()
    words = "\n".join(Text(page).words)
    for name in (job.queue_name, *job.attempts.values_list("worker_name", flat=True)):
        words = words.replace(name, "…")
    words = re.sub(r"\d[\d.,:]*", "#", words)
    return re.sub(r"# (ms|s|min)\b", "# s", re.sub(r"\nusually .*", "", words))


def without_memory(text):
    """Where no limit is kept, the memory of one job is not known."""
    return text.replace("#\N{NO-BREAK SPACE}MB", "–")


@pytest.fixture
def people(transactional_db):
    Subscriber.objects.bulk_create(Subscriber(email=f"{name}@example.com", name=name) for name in ("ada", "ben"))
    yield Shop.objects.create(name="Berlin")
    for model in (Delivery, Subscriber, Product, Shop):
        model.objects.all().delete()


@pytest.mark.skipif(bool(celery.missing("redis")), reason=celery.missing("redis") or "never")
def test_the_same_jobs_tell_the_same_on_every_backend(people, admin_client, settings, tmp_path):
    settings.QORWORKER = {"QUEUES": QUEUES}
    worker = ("-m", "django", "runworker", "--queues", "default", "--processes", "1")
    with ExitStack() as stack:
        for each in (
            celery.connected("redis"),
            process(tmp_path, *worker, settings="tests.processes.settings", queues=QUEUES),
            ticking(tmp_path, queues=QUEUES),
            celery.celery_worker(tmp_path, "redis", "threads"),
        ):
            stack.enter_context(each)
        made = {}
        for queue in QUEUES:
            letter = {"subject": "Tea", "content": "It is ready.", "password": "letters", "pause": 0}
            file = SimpleUploadedFile("products.csv", ROWS)
            made[queue] = (
                ended(nightly_report.using(queue_name=queue).enqueue()),
                ended(send_newsletter.using(queue_name=queue).enqueue(**letter)),
                ended(import_products.using(queue_name=queue).enqueue(file=file, shop=people)),  # one at once
            )
        texts = {queue: [text_of(admin_client, job) for job in pair] for queue, pair in made.items()}
    for queue, pair in made.items():
        assert [job.status for job in pair] == ["done", "done", "exception"], queue
        expected = texts["default"]
        if not backend_of(queue).supports_limits:
            expected = [without_memory(text) for text in expected]
        assert texts[queue] == expected, queue
    assert "report.csv" in texts["default"][0]
    assert "Finished sending" in texts["default"][1]
    assert "Enter a number." in texts["default"][2]
    assert "Run again for # row with errors" in texts["default"][2]
