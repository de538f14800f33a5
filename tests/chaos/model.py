"""Searches the model of the lease protocol: nothing forbidden happens, and without any one of its rules it does."""

from __future__ import annotations

import argparse

from tests.model.__main__ import search_all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The search has no options."""


def run(options: argparse.Namespace) -> int:
    return search_all()
