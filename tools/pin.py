"""Turn a pip installation report (standard input) into a constraints file (standard output)."""

import json
import sys

HEADER = """\
# Every package of every dependency group and extra, at the version the project is tested with.
# Written by `make constraints`; all installations of the Makefile use it."""


def pins(report: dict[str, list[dict[str, dict[str, str]]]]) -> list[str]:
    """Return a sorted `name==version` line for each package of the report but our own."""
    packages = [item["metadata"] for item in report["install"]]
    return sorted(
        f"{package['name'].lower()}=={package['version']}"
        for package in packages
        if package["name"] != "mainspring"
    )


if __name__ == "__main__":
    print(HEADER, *pins(json.load(sys.stdin)), sep="\n")
