"""What tests of rows share."""

from tests.fixtures import proxy

__all__ = ["proxy"]
