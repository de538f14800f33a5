"""Database servers of one's own, for what must not be done to those that others use. They need root, as in CI."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from tests.support import alive, wait_until


class Server(Protocol):
    port: int

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def kill(self) -> None:
        """SIGKILL to all of its processes: what it had acknowledged has to be there after the next start."""


@contextmanager
def private_server(engine: str, variables: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A new, empty *engine*, ``"postgresql"`` or ``"mariadb"``, which is gone afterwards.

    *variables* are for its environment.
    """
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # the server runs as a user of its own
        server: Server = {"postgresql": PostgreSQL, "mariadb": MariaDB}[engine](Path(folder) / "data", variables or {})
        server.start()
        try:
            yield server
        finally:
            server.stop()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class PostgreSQL:
    def __init__(self, data: Path, variables: Mapping[str, str]) -> None:
        self.data, self.port, self.variables = data, free_port(), variables
        self.programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
        data.mkdir()
        shutil.chown(data, "postgres")
        self._run(f"{self.programs}/initdb -A trust -D {data}")
        with (data / "postgresql.conf").open("a") as file:
            file.write(f"port = {self.port}\nunix_socket_directories = ''\n")

    def start(self) -> None:
        given = " ".join(f"{name}={value}" for name, value in self.variables.items())
        self._run(f"env {given} {self.programs}/pg_ctl -w -s -D {self.data} -l {self.data}/log start")

    def stop(self) -> None:
        self._run(f"{self.programs}/pg_ctl -w -s -D {self.data} -m fast stop")

    def kill(self) -> None:
        server = int((self.data / "postmaster.pid").read_text().split()[0])
        os.kill(server, signal.SIGSTOP)  # so that it starts no other one meanwhile
        pids = [server, *map(int, Path(f"/proc/{server}/task/{server}/children").read_text().split())]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(alive(pid) for pid in pids))
        (self.data / "postmaster.pid").unlink()  # a zombie counts as a server that runs

    def _run(self, command: str) -> None:
        subprocess.run(["su", "postgres", "-c", command], check=True, stdout=subprocess.DEVNULL, cwd="/")


class MariaDB:
    def __init__(self, data: Path, variables: Mapping[str, str]) -> None:
        self.data, self.port, self.variables = data, free_port(), variables
        self.process: subprocess.Popen[bytes] | None = None
        install = ["mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={data}"]
        install.append("--auth-root-authentication-method=normal")
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        options = [f"--datadir={self.data}", f"--socket={self.data}/own.sock", "--bind-address=127.0.0.1"]
        self.process = subprocess.Popen(
            ["/usr/sbin/mariadbd", "--no-defaults", "--user=mysql", *options, f"--port={self.port}"],
            env={**os.environ, **self.variables},
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._answers, 60)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(60)

    def _answers(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0
