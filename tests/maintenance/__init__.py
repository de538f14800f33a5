"""Tests of what any runner does between jobs."""
