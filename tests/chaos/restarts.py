"""Restarts the database server under busy workers."""

from __future__ import annotations

import argparse
import random
import time

from django.db import connection

from tests.chaos.outages import add_outage_arguments, try_out
from tests.proxy import FaultProxy
from tests.servers import Server

LIMIT = 5.0  # seconds until work must go on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_outage_arguments(parser, limit=LIMIT)


def run(options: argparse.Namespace) -> int:
    return try_out(restart, options)


def restart(proxy: FaultProxy, server: Server, chance: random.Random) -> None:
    connection.close()
    server.stop()
    time.sleep(chance.uniform(0.0, 3.0))
    server.start()
