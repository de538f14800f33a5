"""Programs that start trees of processes in every way that hides them, and a census that finds them anyway.

A tree is a folder of scripts. It has a mark that stands in the arguments of each of its processes: that survives
another session, an empty environment and another name, and the worker does not know of it.
"""

from __future__ import annotations

import os
import random
import secrets
from contextlib import suppress
from pathlib import Path

from tests.support import alive

FORKS_ON = """\
import os, time
for _ in range({count}):
    if os.fork():
        os._exit(0)
    {between}
    time.sleep({pause})
time.sleep(600)
"""
ADOPTS = """\
import ctypes, subprocess, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
subprocess.Popen(["bash", "{script}"])
time.sleep(600)
"""


class Tree:
    """The scripts of one tree; ``program`` is the first of them."""

    def __init__(self, folder: Path) -> None:
        self.mark = f"0.0{secrets.randbelow(10**12):012}"  # also a number of seconds, for sleep
        self.nap = f"sleep 600 {self.mark}"
        self.folder = folder / f"tree-{self.mark}"
        self.folder.mkdir(parents=True)
        self.program = ""
        self._number = 0

    def write(self, text: str, suffix: str = "sh") -> str:
        """A script with this text; its path."""
        self._number += 1
        path = self.folder / f"{self._number}.{suffix}"
        path.write_text(text)
        return str(path)

    def census(self) -> list[int]:
        """Every process of the tree that is alive."""
        return processes_of(self.mark)


def processes_of(mark: str) -> list[int]:
    """Every process alive with *mark* in its arguments."""
    pids = []
    for name in os.listdir("/proc"):
        with suppress(OSError):
            if name.isdigit() and mark.encode() in Path(f"/proc/{name}/cmdline").read_bytes():
                pids.append(int(name))
    return [pid for pid in pids if alive(pid)]


def chain(tree: Tree, length: int) -> str:
    """A chain of sessions, each process of which is the parent of the next."""
    script = tree.write(f"exec {tree.nap}\n")
    for _ in range(length - 1):
        script = tree.write(f"setsid bash {script} &\nexec {tree.nap}\n")
    return script


def hostile(tree: Tree) -> None:
    """Sessions of sessions, daemons, empty environments, other names, stopped processes, some that ignore TERM."""
    path = os.environ["PATH"]
    stopped = tree.write(f"{tree.nap} &\nkill -STOP $$\n")
    deaf = tree.write(f"trap '' TERM HUP INT\n{tree.nap} &\nwait\n")
    renamed = tree.write(f"exec -a kworker/0:1 {tree.nap}\n")
    forking = tree.write(f"for i in {{1..30}}; do setsid {tree.nap} & sleep 0.01 {tree.mark}; done\nwait\n")
    tree.program = tree.write(
        f"setsid bash {chain(tree, 8)} &\n"
        f"( setsid bash {stopped} & )\n"
        f"( ( env -i PATH='{path}' setsid bash {chain(tree, 3)} & ) & )\n"
        f"env -i PATH='{path}' setsid bash {deaf} &\n"
        f"bash {renamed} &\n"
        f"bash {forking} &\n"
        f"exec {tree.nap}\n"
    )


class Gardener:
    """Makes trees at random: *chance* decides what they look like."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def tree(self, folder: Path) -> Tree:
        tree = Tree(folder)
        branches = [self.branch(tree, self.chance.randint(0, 5)) for _ in range(self.chance.randint(1, 3))]
        tree.program = tree.write("".join(f"{self.started(each)} &\n" for each in branches) + self.end(tree))
        return tree

    def branch(self, tree: Tree, depth: int) -> str:
        """A script that starts others, to this depth."""
        if not depth:
            return self.leaf(tree)
        if self.chance.random() < 0.15:
            return chain(tree, self.chance.randint(3, 20))
        if self.chance.random() < 0.15:
            inner = self.branch(tree, depth - 1)
            script = tree.write(ADOPTS.format(script=inner), "py")
            return tree.write(f"exec python3 {script}\n")
        below = [self.branch(tree, depth - 1 - self.chance.randint(0, 1) * (depth > 1))]
        if self.chance.random() < 0.3:
            below.append(self.leaf(tree))
        text = "trap '' TERM HUP INT\n" if self.chance.random() < 0.3 else ""
        return tree.write(text + "".join(f"{self.started(each)} &\n" for each in below) + self.end(tree))

    def started(self, script: str) -> str:
        """The command that starts a script, in one of the ways there are."""
        path = os.environ["PATH"]
        ways = (
            "bash {0}", "setsid bash {0}", "( bash {0} & )", "( setsid bash {0} & )", "( ( setsid bash {0} & ) & )",
            f"env -i PATH='{path}' setsid bash {{0}}", f"env -i PATH='{path}' bash {{0}}", "nohup bash {0}",
        )  # fmt: skip
        return self.chance.choice(ways).format(script)

    def end(self, tree: Tree) -> str:
        """What a process does when it has started others."""
        nap = tree.nap
        return self.chance.choice((f"exec {nap}\n", f"exec -a kworker/0:1 {nap}\n", "wait\n", "exit\n"))

    def leaf(self, tree: Tree) -> str:
        """A script that starts nothing, or goes on starting processes while it is being ended."""
        nap, chance = tree.nap, self.chance
        pause = chance.choice(("0", "0.001", "0.01"))
        session = chance.choice(("", "setsid "))
        programs = (
            f"exec {nap}\n",
            f"trap '' TERM\n{nap}\n",
            f"{nap} &\nkill -STOP $$\n",
            f"{nap} & kill -STOP $!\nwait\n",
            f"trap 'setsid {nap} & setsid {nap} &' TERM\nwhile :; do sleep 0.2 {tree.mark}; done\n",
            f"for i in {{1..40}}; do {session}{nap} & sleep {pause} {tree.mark}; done\nwait\n",
            self.forks_on(tree, pause),
        )
        return tree.write(chance.choice(programs))

    def forks_on(self, tree: Tree, pause: str) -> str:
        """A process that is a new one after every moment, for a while."""
        between = self.chance.choice(("pass", "os.setsid()"))
        count = 2000 if pause == "0" else 200
        script = tree.write(FORKS_ON.format(count=count, between=between, pause=pause), "py")
        return f"exec python3 {script}\n"
