"""Which names a database may take for the same one. ``manage.py check``."""

from __future__ import annotations

import unicodedata


def plain(name: str) -> str:
    """Return *name* without the differences that many collations ignore: case and accents."""
    return "".join(char for char in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(char))
