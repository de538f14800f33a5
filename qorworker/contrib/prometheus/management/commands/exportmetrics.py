"""``manage.py exportmetrics``: the figures for Prometheus from a process of their own, or once as a text."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections
from prometheus_client import generate_latest, start_http_server

from qorworker.contrib.prometheus.collector import JobsCollector, registry

PATIENCE = 5.0  # seconds that a scrape waits for the one before


class OwnConnections(JobsCollector):
    """Collects in a thread of the server, which has to give back its connections: one at a time.

    While the database is silent, each scrape would leave one more thread behind, with a connection.
    """

    def __init__(self) -> None:
        self.turn = threading.Lock()

    def collect(self) -> Any:
        if not self.turn.acquire(timeout=PATIENCE):
            raise TimeoutError("The database has not answered the scrape before.")
        with ExitStack() as ended:
            ended.callback(self.turn.release)
            ended.callback(connections.close_all)  # whatever ``CONN_MAX_AGE`` is: this thread ends
            return list(super().collect())


class Command(BaseCommand):
    help = "Serves the figures of queues and workers for Prometheus until it gets a signal to stop."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--address", default="127.0.0.1", help="Where to listen (default: 127.0.0.1).")
        parser.add_argument("--port", type=int, default=9469, help="The port (default: 9469); 0 chooses one.")
        parser.add_argument("--once", action="store_true", help="Write the figures to the standard output, and end.")

    def handle(self, **options: Any) -> None:
        if options["once"]:
            self.stdout.write(generate_latest(registry()).decode(), ending="")
            return
        exported = registry(OwnConnections())
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
        try:
            server, thread = start_http_server(options["port"], options["address"], exported)
        except (OSError, OverflowError) as error:
            raise CommandError(f"--address, --port: {error}") from error
        self.stdout.write(f"Metrics are at http://{options['address']}:{server.server_port}/metrics")
        self.stdout.flush()
        signal.sigwait((signal.SIGTERM, signal.SIGINT))
        server.shutdown()
        thread.join()
