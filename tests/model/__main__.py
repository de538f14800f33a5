"""``python -m tests.model``: the whole search, with all rules and without each of them.

With ``--write`` the shortest ways to something forbidden are stored for the tests, which take them again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.model.rules import RULES
from tests.model.search import Found, search
from tests.model.states import Bounds

FULL = Bounds(faults=2, requests=1)
SMALL = Bounds(faults=1, requests=1)  # enough for most
WAYS = Path(__file__).with_name("ways.json")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {WAYS.name}")
    options = parser.parse_args()
    return search_all(write=options.write)


def search_all(*, write: bool = False) -> int:
    """Search with all rules and without each of them, and tell what is not as it must be. The exit status."""
    without = {name: search_without(name) for name in RULES}
    if write:
        ways = {name: {"wrong": found.wrong, "way": found.way} for name, found in without.items()}
        WAYS.write_text(json.dumps(ways, indent=2) + "\n")
    whole = search(FULL)
    tell("all rules", whole)
    needless = [name for name, found in without.items() if not found.wrong]
    violations = [f"with all rules: {whole.wrong}: {', '.join(map(str, whole.way))}"] * bool(whole.wrong)
    violations += [f"nothing is wrong without “{name}”" for name in needless]
    for violation in violations:
        print(f"VIOLATION {violation}")
    states = f"{whole.states:,} states: {whole.wrong or 'nothing wrong'}"
    print(f"{states}; {len(without) - len(needless)} of {len(without)} rules are needed")
    return int(bool(violations))


def search_without(name: str) -> Found:
    """Look near first: most rules are needed at once."""
    found = search(SMALL, without=[name])
    if not found.wrong:
        found = search(FULL, without=[name])
    tell(f"without “{name}”", found)
    return found


def tell(what: str, found: Found) -> None:
    way = f" after {len(found.way)} steps" if found.wrong else ""
    told = f"{found.wrong or 'nothing wrong'}{way}"
    print(f"{what:22} {found.states:9,} states {found.seconds:6.1f} s  {told}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
