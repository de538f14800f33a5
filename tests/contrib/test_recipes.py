"""The recipes of the documentation, with the packages that they are about."""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile, UploadedFile

from example_project.shop.models import Product, Shop
from qorworker import JobContext, job
from qorworker.testing import run_job
from tests.job_types import own_types  # noqa: F401
from tests.test_readme import ROOT, blocks

pytestmark = [pytest.mark.django_db, pytest.mark.once, pytest.mark.usefixtures("own_types")]


def example(start: str) -> str:
    (code,) = [code for _, code in blocks(ROOT / "docs" / "howto" / "observability.md") if start in code]
    return code


@pytest.fixture
def import_products(monkeypatch):
    from example_project.shop import models

    monkeypatch.setitem(sys.modules, "shop", ModuleType("shop"))
    monkeypatch.setitem(sys.modules, "shop.models", models)
    module = ModuleType("shop.imports")
    exec(example("# shop/imports.py"), module.__dict__)
    return module.import_products


def test_a_file_is_imported_and_rows_that_are_refused_are_listed(import_products):
    shop = Shop.objects.create(name="Berlin")
    Product.objects.create(shop=shop, sku="TEA-1", name="Tea", price="3", stock=1)
    rows = [f"{shop.pk},TEA-1,Tea,4,5", f"{shop.pk},TEA-2,Green tea,5,7", f"{shop.pk},TEA-3,Odd,dear,1"]
    content = "\n".join(["shop,sku,name,price,stock", *rows]).encode()
    run = run_job(import_products, file=SimpleUploadedFile("products.csv", content))
    assert (run.status, run.error) == ("exception", "1 of 1 row has errors.")
    assert {**run.result, "skip": 0}.items() >= {"new": 1, "update": 1}.items()
    assert dict(Product.objects.values_list("sku", "stock")) == {"TEA-1": 5, "TEA-2": 7}


class Bucket(BaseHTTPRequestHandler):
    """As much of S3 as a storage needs: objects are put, read and deleted."""

    objects: dict[str, bytes] = {}

    def answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Tue, 01 Dec 2026 06:30:00 GMT")
        self.send_header("ETag", '"tag"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    @property
    def key(self) -> str:
        return self.path.partition("?")[0]

    def do_PUT(self) -> None:
        self.objects[self.key] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200)

    def do_GET(self) -> None:
        found = self.objects.get(self.key)
        self.answer(404 if found is None else 200, found or b"")

    do_HEAD = do_GET

    def do_DELETE(self) -> None:
        self.objects.pop(self.key, None)
        self.answer(204)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def bucket(settings, monkeypatch):
    """The settings of the recipe, with a server in the place of Amazon's; the objects that it has."""
    from botocore.config import Config

    names: dict = {}
    exec(example("UPLOAD_STORAGE"), names)
    monkeypatch.setattr(Bucket, "objects", {})
    with ThreadingHTTPServer(("127.0.0.1", 0), Bucket) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        storages = names["STORAGES"]
        plain = Config(request_checksum_calculation="when_required", s3={"addressing_style": "path"})
        storages["jobs"]["OPTIONS"] |= {
            "endpoint_url": f"http://127.0.0.1:{server.server_port}", "access_key": "key", "secret_key": "secret",
            "region_name": "eu-central-1", "client_config": plain,
        }  # fmt: skip
        settings.STORAGES = storages
        settings.QORWORKER = {**settings.QORWORKER, **names["QORWORKER"]}
        yield Bucket.objects
        server.shutdown()


def test_uploads_and_files_of_jobs_are_kept_in_a_bucket_until_the_job_is_deleted(bucket):
    @job(name="app.read")
    def read(context: JobContext, file: UploadedFile) -> str:
        context.add_file("copy.txt", b"copied")
        return file.read().decode()

    run = run_job(read, file=SimpleUploadedFile("a.txt", b"Dear Ann"))
    assert (run.status, run.result) == ("done", "Dear Ann")
    assert sorted(bucket.values()) == [b"Dear Ann", b"copied"]
