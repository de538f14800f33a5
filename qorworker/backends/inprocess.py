"""Runs a stored job in this process, for backends of projects."""

from qorworker.attempts.in_process import run_stored

__all__ = ["run_stored"]
