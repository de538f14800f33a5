"""Fixtures for pytest: the helpers, with the use of the database. Test processes only."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def run_job(db: None) -> Callable[..., object]:
    """``run_job(job_type, **arguments)``: see ``qorworker.testing.run_job``."""
    from qorworker import testing

    return testing.run_job


@pytest.fixture
def drain_jobs(db: None) -> Callable[..., object]:
    """``drain_jobs(at=…, retries=…)``: see ``qorworker.testing.drain``."""
    from qorworker import testing

    return testing.drain


@pytest.fixture
def immediate_jobs(db: None) -> Callable[..., object]:
    """``with immediate_jobs(): …``: see ``qorworker.testing.immediate_jobs``."""
    from qorworker import testing

    return testing.immediate_jobs
