"""A job that takes a while, and writes to a file when it begins and ends."""

import os
import time


def work(job, folder, seconds=3.0):
    path = os.path.join(folder, str(job))
    with open(path, "a") as file:
        file.write(f"begin {os.getpid()}\n")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.05)
    with open(path, "a") as file:
        file.write(f"end {os.getpid()}\n")
