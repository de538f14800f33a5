"""Tests of this machine's processes and memory."""
