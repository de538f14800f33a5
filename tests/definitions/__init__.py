"""Tests of what ``@job`` makes of a function."""
