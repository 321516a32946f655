"""Adds up CTest's JUnit files: the skipped tests by reason, the failed ones, and one last line."""

from __future__ import annotations

import argparse
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter


PYTEST_SKIP = re.compile(r"^SKIPPED \[(\d+)\] \S+: (.+)$", re.MULTILINE)
GTEST_SKIP = re.compile(r"^\S+:\d+: Skipped\n(.+)$", re.MULTILINE)


def is_skip(case: ElementTree.Element) -> bool:
    """Not a test that could not run (a missing program), which CTest marks almost alike."""
    skipped = case.find("skipped")
    message = skipped.get("message", "") if skipped is not None else ""
    return case.get("status") == "disabled" or message.startswith("SKIP_")


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
            output = case.findtext("system-out") or ""
            if is_skip(case):
                reason = GTEST_SKIP.search(output)
                skipped[reason.group(1).strip() if reason else "no reason given"] += 1
            elif case.get("status") == "run":
                passed += 1
                for count, reason in PYTEST_SKIP.findall(output):
                    skipped[reason] += int(count)
            else:
                failed += 1
                print(f"FAILED: {case.get('name')}")
    for reason, count in sorted(skipped.items()):
        print(f"skipped: {count} tests: {reason}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
