"""The tags and filters of ``admin.display``, for templates. Web."""

from qorworker.admin.display import register

__all__ = ["register"]
