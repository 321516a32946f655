"""Adds up CTest's JUnit files: the skipped tests by reason, the failed ones, and one last line."""

from __future__ import annotations

import argparse
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter


def skip_reason(output: str) -> str:
    """The text given to GTEST_SKIP, or what pytest said."""
    if match := re.search(r"^\S+:\d+: Skipped\n(.+)$", output, re.MULTILINE):
        return match.group(1).strip()
    if match := re.search(r"^SKIPPED \[\d+\] \S+ (.+)$", output, re.MULTILINE):
        return match.group(1).strip()
    return "no reason given"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--passed", type=int, default=0, help="checks outside CTest")
    parser.add_argument("--failed", type=int, default=0)
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    passed, failed = options.passed, options.failed
    skipped: Counter[str] = Counter()
    for file in options.files:
        for case in ElementTree.parse(file).iter("testcase"):
            status = case.get("status")
            if status == "run":
                passed += 1
            elif status in ("notrun", "disabled"):
                skipped[skip_reason(case.findtext("system-out") or "")] += 1
            else:
                failed += 1
                print(f"FAILED: {case.get('name')}")
    for reason, count in sorted(skipped.items()):
        print(f"skipped: {count} tests: {reason}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
