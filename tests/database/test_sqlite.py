"""A file of SQLite that cannot be written is named, with what it needs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from types import SimpleNamespace

import pytest
from django.db import OperationalError

from qorworker.database.sqlite import unwritable

pytestmark = pytest.mark.once


def connection(name, vendor="sqlite"):
    return SimpleNamespace(vendor=vendor, settings_dict={"NAME": name})


def test_a_file_that_may_only_be_read_is_named(tmp_path):
    path = tmp_path / "site.sqlite3"
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TABLE t (x)")
    read_only = closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True))
    with read_only as raw, pytest.raises(sqlite3.OperationalError) as error:
        raw.execute("INSERT INTO t VALUES (1)")
    assert unwritable(connection(path), error.value).startswith(f"The SQLite file {path} cannot be written")


def test_a_folder_that_does_not_exist_is_named_too(tmp_path):
    path = tmp_path / "gone" / "site.sqlite3"
    with pytest.raises(sqlite3.OperationalError) as error:
        sqlite3.connect(path)
    assert "its folder has to exist" in unwritable(connection(path), error.value)


@pytest.mark.parametrize(
    ("vendor", "text"),
    [("sqlite", "database is locked"), ("postgresql", "unable to open database file")],
)
def test_of_other_errors_nothing_is_said(vendor, text):
    assert unwritable(connection("site", vendor), OperationalError(text)) == ""
