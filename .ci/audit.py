"""``python .ci/audit.py FOLDER``: known vulnerabilities of what is installed in a folder of packages.

pip-audit looks them up at PyPI. Where the network or the index has no such data, this says so and ends with 0: what
could not be asked is no failure of the change that is checked. With a vulnerability it ends with 1.
"""

from __future__ import annotations

import json
import subprocess
import sys

LINES = 5  # of what pip-audit says when it cannot ask


def main(folder: str) -> int:
    command = [sys.executable, "-m", "pip_audit", "--path", folder, "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        said = done.stderr.strip().splitlines()[-LINES:]
        print("NOT AUDITED: there is no answer.", *said, sep="\n  ")
        return 0
    asked = [each for each in packages if "vulns" in each]
    skipped = [each["name"] for each in packages if "vulns" not in each]
    if not asked:
        print(f"NOT AUDITED: the index has no data about any of {len(packages)} packages.")
        return 0
    found = [(each, vulnerability) for each in asked for vulnerability in each["vulns"]]
    for each, vulnerability in found:
        fixed = ", ".join(vulnerability["fix_versions"]) or "none yet"
        print(f"{each['name']} {each['version']}: {vulnerability['id']}, fixed in: {fixed}")
    print(f"{len(asked)} packages audited, {len(found)} vulnerabilities. Not audited: {', '.join(skipped) or 'none'}.")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
