"""Times that several processes of a worker must agree on. Parent, fork server and children."""

from __future__ import annotations

EXIT_GRACE = 2.0  # seconds for all exit functions of a child together
