"""How long to wait before a query that passes the entries of finished jobs is repeated. Every process that looks.

While a transaction stays open, PostgreSQL removes no entry from an index that this transaction may still see. What is
at the beginning of an index then costs more with every job that ends, so such a query is repeated the less often, the
longer it takes.
"""

from __future__ import annotations

REST = 20  # times as long as the query took: it then takes up to five per cent of the time
LONGEST = 30.0  # seconds


def rest_after(seconds: float) -> float:
    """Return the seconds to wait after a query that took *seconds*."""
    return min(REST * seconds, LONGEST)
