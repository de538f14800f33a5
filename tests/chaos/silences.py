"""Loses all connections of busy workers without a word; new ones work at once or after a while."""

from __future__ import annotations

import argparse
import random
import time

from tests.chaos.outages import add_outage_arguments, try_out
from tests.proxy import FaultProxy
from tests.servers import Server

LIMIT = 30.0  # seconds until work must go on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_outage_arguments(parser, limit=LIMIT)


def run(options: argparse.Namespace) -> int:
    return try_out(fall_silent, options)


def fall_silent(proxy: FaultProxy, server: Server, chance: random.Random) -> None:
    chance.choice((proxy.silence, proxy.one_way))()
    time.sleep(chance.choice((0.0, 0.0, chance.uniform(0.0, 12.0))))
    proxy.restore()
