"""The arguments of job types: their forms, and the way of each value to the table and back. All processes."""

from qorworker.arguments.arg import Arg
from qorworker.arguments.arguments import Arguments
from qorworker.arguments.drift import Drift
from qorworker.arguments.shown import Shown

__all__ = ["Arg", "Arguments", "Drift", "Shown"]
