"""The statements that every job passes through, set-based, one form for each kind of database.

Parent process (and whoever else runs jobs). The ORM has no UPDATE … RETURNING and no UPDATE from a list of
values; everything that is not on the path of every single job stays in the ORM.
"""

from qorworker.models.sql.attempts import AttemptUpdate, note_columns
from qorworker.models.sql.certain import claim_one
from qorworker.models.sql.claims import Claim, Claimed, claimed_with, queues_with_jobs
from qorworker.models.sql.exchange import Exchange, Note, claim, exchange
from qorworker.models.sql.inserts import insert
from qorworker.models.sql.jobs import insert_jobs, insert_unless_taken
from qorworker.models.sql.limits import Round, claim_limited
from qorworker.models.sql.parts import BATCH

__all__ = [
    "BATCH",
    "AttemptUpdate",
    "Claim",
    "Claimed",
    "Exchange",
    "Note",
    "Round",
    "claim",
    "claim_limited",
    "claim_one",
    "claimed_with",
    "exchange",
    "insert",
    "insert_jobs",
    "insert_unless_taken",
    "note_columns",
    "queues_with_jobs",
]
