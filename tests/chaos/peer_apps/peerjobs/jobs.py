"""Where qorworker finds its jobs."""

import os

import ledger

from qorworker import job


@job(max_attempts=int(os.environ.get("PEER_ATTEMPTS", "1")))
def work(number: int, folder: str) -> None:
    ledger.work(number, folder)
