"""Known vulnerabilities of the packages in requirements.lock: `make audit`, where a database can be asked."""

import datetime
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[1] / "requirements.lock"
TOOL = "pip-audit==2.9.0"  # fetched when it is needed: no page and no test uses it
COMMAND = (sys.executable, "-m", "uv", "--quiet", "tool", "run", TOOL, "--requirement", str(LOCK), "--require-hashes",
           "--disable-pip", "--progress-spinner", "off", "--format", "json")


def main(arguments: Sequence[str] = ()) -> int:
    """Ask, and print what is known with the date: 1 where something is, 2 where nobody could be asked."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "audit.json"
        run = subprocess.run([*COMMAND, "--output", report, *arguments], capture_output=True, text=True)
        audit = json.loads(report.read_text(encoding="utf-8")) if report.exists() else None
    if audit is None:
        reason = (run.stderr.strip().splitlines() or ["no reason was given"])[-1].strip()
        print(f"{_today()}: no database of vulnerabilities could be asked, so nothing was audited ({reason}). Try "
              "again where there is a network.")
        return 2
    lines = vulnerable(audit)
    print(f"{_today()}: {len(audit['dependencies'])} packages of {LOCK.name}, {len(lines)} findings.", *lines, sep="\n")
    return 1 if lines else 0


def vulnerable(report: dict[str, Any]) -> list[str]:
    """A line for each vulnerability in pip-audit's report, and for each package that it could not look up.

    >>> known = {"id": "PYSEC-1", "fix_versions": ["2"]}
    >>> vulnerable({"dependencies": [{"name": "a", "version": "1", "vulns": [known]}]})
    ['a 1: PYSEC-1, fixed in 2']
    """
    lines = []
    for package in report["dependencies"]:
        if "skip_reason" in package:
            lines.append(f"{package['name']}: not looked up, {package['skip_reason']}")
        for known in package.get("vulns", ()):
            fixed = ", ".join(known["fix_versions"]) or "no version yet"
            lines.append(f"{package['name']} {package['version']}: {known['id']}, fixed in {fixed}")
    return lines


def _today() -> str:
    return datetime.date.today().isoformat()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
