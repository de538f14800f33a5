"""The statements that every job passes through, set-based, one form for each kind of database.

Parent process (and whoever else runs jobs). The ORM has no UPDATE … RETURNING and no UPDATE from a list of
values; everything that is not on the path of every single job stays in the ORM.
"""

from qorworker.models.sql.attempts import AttemptUpdate, write_attempts
from qorworker.models.sql.claims import Claim, Claimed, claim, claim_one, claimed_with, queues_with_jobs
from qorworker.models.sql.inserts import insert
from qorworker.models.sql.jobs import insert_jobs
from qorworker.models.sql.parts import BATCH

__all__ = [
    "BATCH",
    "AttemptUpdate",
    "Claim",
    "Claimed",
    "claim",
    "claim_one",
    "claimed_with",
    "insert",
    "insert_jobs",
    "queues_with_jobs",
    "write_attempts",
]
