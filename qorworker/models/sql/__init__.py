"""The statements that every job passes through: set-based, in one form for each kind of database. All processes.

The ORM has no UPDATE … RETURNING and no UPDATE from a list of values. Everything that is not on the path of every
single job stays in the ORM.
"""

from qorworker.models.sql.attempts import AttemptNote, AttemptUpdate, note_columns
from qorworker.models.sql.charsets import Fit, fitting
from qorworker.models.sql.claim_one import claim_one
from qorworker.models.sql.claims import (
    WHOLE,
    Claim,
    Claimed,
    Heads,
    Position,
    Stretch,
    claimed_with,
    has_dead_entries,
    queues_with_jobs,
)
from qorworker.models.sql.exchange import Exchange, claim, exchange
from qorworker.models.sql.inserts import insert
from qorworker.models.sql.jobs import insert_jobs, insert_timed_jobs, insert_unless_taken
from qorworker.models.sql.limits import Round, claim_limited
from qorworker.models.sql.parts import BATCH, most_bytes, portions, weight
from qorworker.models.sql.plain_ends import PlainEnd

__all__ = [
    "BATCH",
    "WHOLE",
    "AttemptNote",
    "AttemptUpdate",
    "Claim",
    "Claimed",
    "Exchange",
    "Fit",
    "Heads",
    "PlainEnd",
    "Position",
    "Round",
    "Stretch",
    "claim",
    "claim_limited",
    "claim_one",
    "claimed_with",
    "exchange",
    "fitting",
    "has_dead_entries",
    "insert",
    "insert_jobs",
    "insert_timed_jobs",
    "insert_unless_taken",
    "most_bytes",
    "note_columns",
    "portions",
    "queues_with_jobs",
    "weight",
]
