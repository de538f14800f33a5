"""Kills processes where jobs are handed over to Celery and run there: people, workers, and those of Celery itself."""

from __future__ import annotations

import argparse
import os

from tests.chaos import crashes

BROKER = os.environ.get("QORWORKER_TEST_REDIS", "redis://127.0.0.1:6379/9")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    crashes.add_arguments(parser)
    parser.set_defaults(points="celery")
    parser.add_argument("--broker", default=BROKER, help="(default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    return crashes.carry_out(options, options.broker)
