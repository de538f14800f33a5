"""Tests of typed arguments."""
