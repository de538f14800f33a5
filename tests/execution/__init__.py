"""Tests of what runs one attempt."""
