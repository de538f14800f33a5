"""Searches the model of the lease protocol: nothing forbidden happens, and without any one of its rules it does."""

from __future__ import annotations

import argparse

from tests.model.__main__ import FULL, search_without, tell
from tests.model.rules import RULES
from tests.model.search import search


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rules", nargs="*", choices=[*RULES], default=[*RULES], help="rules to try without")


def run(options: argparse.Namespace) -> int:
    whole = search(FULL)
    tell("all rules", whole)
    needless = [name for name in options.rules if not search_without(name).wrong]
    faults = [f"with all rules: {whole.wrong}"] * bool(whole.wrong)
    faults += [f"nothing is wrong without “{name}”" for name in needless]
    for fault in faults:
        print(f"VIOLATION {fault}")
    needed = len(options.rules) - len(needless)
    found = f"{whole.states:,} states: {whole.wrong or 'nothing wrong'}"
    print(f"{found}; {needed} of {len(options.rules)} rules are needed")
    return int(bool(faults))
