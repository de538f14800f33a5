"""Tests of verbs over many rows."""
