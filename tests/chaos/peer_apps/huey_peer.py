"""``python huey_peer.py set_up | enqueue NUMBER FOLDER | failed``, and the app of the consumers."""

import os
import sys

import ledger
from huey import SqliteHuey

huey = SqliteHuey("peer", filename=os.path.join(os.environ["PEER_FOLDER"], "huey.sqlite3"))
work = huey.task(name="work")(ledger.work)


def set_up():
    pass


def enqueue(number, folder):
    for job in range(int(number)):
        work(job, folder)


def failed():
    print(0)  # there are no rows of tasks that could say so


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
