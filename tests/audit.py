"""Known vulnerabilities of the packages in this environment, by pip-audit; `tox -e audit` runs it.

    python tests/audit.py [OPTIONS OF PIP-AUDIT]

Where pip-audit's service cannot be reached, or knows none of the packages (as behind a mirror), it says so and ends
with code 0; with code 1 where a package has a known vulnerability.
"""

import json
import subprocess
import sys

UNREACHABLE = ("ConnectionError", "ConnectTimeout", "ReadTimeout", "ProxyError", "SSLError", "ServiceError")


def verdict(output, errors):
    """Return the exit code and the lines to print for what pip-audit wrote."""
    try:
        packages = json.loads(output)["dependencies"]
    except ValueError:
        last = (errors.strip().splitlines() or ["no output"])[-1]
        if any(name in errors for name in UNREACHABLE):
            return 0, [f"skipped: the service cannot be reached ({last[:200]})"]
        return 2, [f"pip-audit failed: {last}"]
    known = [package for package in packages if "skip_reason" not in package]
    if not known:
        return 0, [f"skipped: the service knows none of the {len(packages)} packages; it is out of reach from here"]
    flaws = [
        f"{package['name']} {package['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'none'}"
        for package in known
        for flaw in package["vulns"]
    ]
    return int(bool(flaws)), [*flaws, f"{len(known)} of {len(packages)} packages looked up, {len(flaws)} known flaws"]


def main(options):
    command = [sys.executable, "-m", "pip_audit", "--local", "--progress-spinner", "off", "--format", "json", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    code, lines = verdict(done.stdout, done.stderr)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
