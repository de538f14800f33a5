"""The default backend, at the address that settings name."""

from qorworker.queues.local import LocalBackend

__all__ = ["LocalBackend"]
