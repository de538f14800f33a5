from __future__ import annotations

from tests.admin.conftest import root, types, visitor

__all__ = ["root", "types", "visitor"]
