from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from tests.admin import support


@pytest.fixture
def types() -> Iterator[dict[str, Any]]:
    with support.only_these_types() as declared:
        yield declared


@pytest.fixture
def root(db: None) -> Any:
    return support.superuser()


@pytest.fixture
def visitor(client: Client, root: Any) -> Client:
    """A browser in which a superuser is signed in."""
    client.force_login(root)
    return client
