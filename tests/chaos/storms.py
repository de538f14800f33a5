"""Does one kind of harm again and again to workers with jobs of every kind, and then looks at everything."""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.chaos import clocks, results
from tests.chaos.clocks import Clock
from tests.chaos.database import new_database
from tests.chaos.harms import HARMS, SPANS, Scene
from tests.chaos.outages import use
from tests.chaos.stage import Stage, told
from tests.proxy import FaultProxy
from tests.servers import private_server
from tests.settings import ENGINE
from tests.support import recorded_transitions

CUT_OFF = {"restart the server", "kill the server", "end all sessions", "use up all connections"}
THROUGH_PROXIES = {
    *CUT_OFF, "cut all connections", "cut one worker off", "cut after commits", "slow the database down",
}  # fmt: skip
ONE_CLOCK = "let the clock of the database jump"  # for SQLite that of each process, which have one machine
OWN_CLOCKS = "let clocks jump"
MACHINES = {"kill a worker for good", "kill a machine"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("harm", choices=[*HARMS], metavar="HARM", help="; ".join(HARMS))
    parser.add_argument("--rounds", type=int, default=20, help="(default: %(default)s)")
    parser.add_argument("--limit", type=float, default=35.0, help="seconds until jobs must be settled, or go on")


def run(options: argparse.Namespace) -> int:
    if not fits(options.harm):
        print(f"Not with {ENGINE}: {options.harm}")
        return 2
    with scene(options.harm, random.Random(options.seed)) as where:
        stage = where.stage
        stage.begin()
        for number in range(1, options.rounds + 1):
            HARMS[options.harm](where)
            stage.figures.faults += 1
            stage.replace_dead()
            if number % 5 == 0 and number < options.rounds:
                stage.settle_and_look(f"{options.harm}, round {number}")
                stage.begin()
        stage.settle_and_look(options.harm)
    late = [seconds for seconds in stage.figures.recovery if seconds > options.limit]
    stage.violations += [f"recovery took {seconds:.1f} s" for seconds in late]
    told(stage.figures, stage.violations)
    results.store(options.json, figures=stage.figures.as_json(), violations=stage.violations)
    return int(bool(stage.violations))


def fits(harm: str, database: str = ENGINE) -> bool:
    """Whether this can be done to such a database."""
    if harm == "lock the file":
        return database == "sqlite"
    if harm in (ONE_CLOCK, OWN_CLOCKS) and not clocks.is_possible():
        return False
    return database != "sqlite" or harm not in {*THROUGH_PROXIES, "lock rows", OWN_CLOCKS}


@contextmanager
def scene(harm: str, chance: random.Random) -> Iterator[Scene]:
    with ExitStack() as stack:
        server, proxies = None, ()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)  # a server reads its clock there
        names = {OWN_CLOCKS: ("people", "a", "b"), ONE_CLOCK: ("all",)}.get(harm, ())
        own_clocks = tuple(Clock(folder, name) for name in names)
        if harm in CUT_OFF or (harm == ONE_CLOCK and ENGINE != "sqlite"):
            variables = own_clocks[0].variables if own_clocks else {}
            server = stack.enter_context(private_server(ENGINE, variables))
            use(server)
        stack.enter_context(new_database())
        transitions = stack.enter_context(recorded_transitions())
        if harm in THROUGH_PROXIES or server:
            from django.db import connection

            port = server.port if server else int(connection.settings_dict["PORT"])
            proxies = tuple(stack.enter_context(FaultProxy(port)) for _ in range(2))
        of_server = own_clocks if server else ()
        stage = Stage(folder, transitions, chance, machine=harm in MACHINES, ports=tuple(p.port for p in proxies))
        stage.clocks = () if server else own_clocks
        stack.enter_context(stage)
        SPANS.append(str(folder / "spans"))
        yield Scene(stage, server, proxies, of_server)
