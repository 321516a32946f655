#!/usr/bin/env python3
"""Holds the rules of the source tree that no compiler checks (design.md, section 2).

    tidy.py [--root DIR] [--rule NAME]...

Prints `path:line: rule` for each breach and exits 1 if there is one. A sleep in a test is allowed
with `// tidy: why` (`# tidy: why` in Python and shell) on its line or the line above.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import cpp_text  # noqa: E402

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70

# Who may include whom, besides its own folder. A folder that is not here (tests) may include all.
DAEMON_BELOW_STAGING = {"format", "storage", "device", "common"}
MAY_INCLUDE: dict[str, set[str]] = {
    "common": set(),
    "format": {"common"},
    "storage": {"common"},
    "device": {"common"},
    "catalog": {"format", "storage", "common"},
    "staging": DAEMON_BELOW_STAGING,
    "residency": {"staging", "catalog"} | DAEMON_BELOW_STAGING,
    "lease": {"residency", "device", "common"},
    "service": {"lease", "residency", "staging", "catalog", "format", "device", "common", "proto"},
    # Fills in each folder's Options struct.
    "config": {"service", "lease", "residency", "staging", "catalog", "proto"} | DAEMON_BELOW_STAGING,
    "main": {"config", "service", "lease", "residency", "staging", "catalog"} | DAEMON_BELOW_STAGING,
    "client/cpp": {"common", "proto"},
    # Files to files, without a daemon: it reads checkpoints as the daemon does.
    "convert": {"catalog", "format", "storage", "common"},
    "client/cli": {"client/cpp", "convert", "common", "proto"},
}
# Where a folder of the table lies; the others are folders of daemon/.
TOP_FOLDERS = ("common", "convert", "proto", "tests", "client/cpp", "client/cli", "client/python")
# Prefixes of generated headers.
PROTO_PREFIXES = ("weightd/v1/", "weightd/config/", "google/rpc/", "grpc/health/v1/")

# The tests of a seam may reach behind it.
URING_FOLDERS = ("daemon/storage/", "tests/contract/storage/")
CUDA_FOLDERS = (
    "common/cuda_driver.",
    "daemon/device/",
    "client/cpp/",
    "tests/support/fake_cuda/",
    "tests/unit/fake_cuda/",
    "tests/unit/client/",
    "tests/unit/device/",
    "tests/contract/device/",
)

# What runs on an Executor: a simulation replaces all of its threads, waits and time.
ON_EXECUTOR = ("daemon/staging/",) + tuple(
    f"daemon/residency/{name}"
    for name in ("evictor", "job_", "reaper", "residency", "scrubber", "stage_", "table_", "verifier")
)
BESIDE_EXECUTOR = re.compile(
    r"\bThread::Start\w*\(|\bSleepFor\(|\bmu_?\.Await\w*\(|(?<!\.)\bSteadyNow\(|\bstd::j?thread\b"
)

SOURCE_FOLDERS = ("common", "convert", "daemon", "client", "proto", "tests", "deploy", "cmake", "configs")
CPP_ENDINGS = {".h", ".cc"}
SCRIPT_ENDINGS = {".py", ".sh"}


@dataclass(frozen=True)
class SourceFile:
    root: Path
    path: str  # relative to the root

    @cached_property
    def text(self) -> str:
        return (self.root / self.path).read_text(encoding="utf-8", errors="replace")

    @property
    def is_cpp(self) -> bool:
        return Path(self.path).suffix in CPP_ENDINGS

    @property
    def is_script(self) -> bool:
        return Path(self.path).suffix in SCRIPT_ENDINGS

    @cached_property
    def code(self) -> str:
        """The text without comments and the content of literals; lines stay where they are."""
        return cpp_text.blank(self.text, literals=True)

    @cached_property
    def includes(self) -> list[tuple[int, str]]:
        text = cpp_text.blank(self.text, literals=False)
        found = re.finditer(r'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"\n]+)[>"]', text, re.MULTILINE)
        return [(line_of(text, match.start(1)), match.group(1)) for match in found]


Breach = tuple[int, str]


def line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def folder_of(path: str) -> str | None:
    """Name in the table of the folder that a source file or an included path belongs to."""
    if path.startswith(PROTO_PREFIXES):
        return "proto"
    for folder in TOP_FOLDERS:
        if path.startswith(folder + "/"):
            return folder
    if path.startswith("weightd/"):  # the client's public headers
        return "client/cpp"
    match = re.match(r"daemon/([^/]+)/", path)
    return match.group(1) if match else None


def check_includes(file: SourceFile) -> Iterator[Breach]:
    own = folder_of(file.path)
    if not file.is_cpp or own not in MAY_INCLUDE:
        return
    for line, header in file.includes:
        other = folder_of(header)
        if other and other != own and other not in MAY_INCLUDE[own]:
            yield line, f"{own} may not include {other}"


def check_seams(file: SourceFile) -> Iterator[Breach]:
    if not file.is_cpp:
        return
    for line, header in file.includes:
        if header == "liburing.h" and not file.path.startswith(URING_FOLDERS):
            yield line, "only daemon/storage may include liburing.h"
    if file.path.startswith(ON_EXECUTOR):
        for match in BESIDE_EXECUTOR.finditer(file.code):
            yield line_of(file.code, match.start()), f"{match.group().rstrip('(')}: ask the Executor"
    if file.path.startswith(CUDA_FOLDERS):
        return
    for line, header in file.includes:
        if header in ("cuda.h", "cuda_runtime.h", "cuda_runtime_api.h"):
            yield line, f"only {', '.join(CUDA_FOLDERS[:3])} and the fake may include {header}"
    for match in re.finditer(r"\b(cu[A-Z]\w*)\s*\(", file.code):
        yield line_of(file.code, match.start()), f"{match.group(1)}: only daemon/device and client/cpp may call the CUDA driver"


def check_file_length(file: SourceFile) -> Iterator[Breach]:
    lines = len(file.text.splitlines())
    if (file.is_cpp or file.is_script) and lines > FILE_LINES_MAX:
        yield lines, f"file has {lines} lines, at most {FILE_LINES_MAX}"


def check_function_length(file: SourceFile) -> Iterator[Breach]:
    if not file.is_cpp:
        return
    for function in cpp_text.functions(file.code):
        if function.line_count > FUNCTION_LINES_MAX:
            yield function.line, (
                f"function {function.name} has {function.line_count} lines, at most {FUNCTION_LINES_MAX}"
            )


CPP_SLEEP = re.compile(r"\b(SleepFor|sleep_for|sleep_until|usleep|nanosleep|clock_nanosleep|sleep)\s*\(")
SCRIPT_SLEEP = re.compile(r"\btime\.sleep\(|^\s*sleep\s+[\d.$]", re.MULTILINE)


def check_sleep(file: SourceFile) -> Iterator[Breach]:
    if not file.path.startswith("tests/") or not (file.is_cpp or file.is_script):
        return
    text, pattern = (file.code, CPP_SLEEP) if file.is_cpp else (file.text, SCRIPT_SLEEP)
    lines = file.text.splitlines()
    for match in pattern.finditer(text):
        line = line_of(text, match.end() - 1)
        if not any(re.search(r"(//|#) tidy: \S.{8,}", near) for near in lines[max(0, line - 2) : line]):
            yield line, "a test may not sleep: wait for what it waits for (or say why: // tidy: ...)"


def check_guard(file: SourceFile) -> Iterator[Breach]:
    if not file.path.endswith(".h"):
        return
    if match := re.search(r"^\s*#\s*pragma\s+once\b", file.text, re.MULTILINE):
        yield line_of(file.text, match.end()), "#pragma once: use an include guard"
        return
    # What a user writes in #include: public headers lie below an include/ folder.
    included_as = "weightd/" + file.path.rpartition("/include/weightd/")[2]
    wanted = re.sub(r"\W", "_", included_as).upper() + "_"
    match = re.search(r"^#ifndef (\w+)\n#define (\w+)$", file.text, re.MULTILINE)
    if not match or match.group(1) != wanted or match.group(2) != wanted:
        yield line_of(file.text, match.start()) if match else 1, f"include guard must be {wanted}"


def check_todo(file: SourceFile) -> Iterator[Breach]:
    for match in re.finditer(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b", file.text):
        yield line_of(file.text, match.start()), f"{match.group(1)}: file an issue instead"


def anchors_of(text: str) -> set[str]:
    """Where a link into a Markdown text may lead: its headings as GitHub names them, and its ids."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    named = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    return named | set(re.findall(r'<a id="([^"]+)">', text))


def check_links(file: SourceFile) -> Iterator[Breach]:
    if not file.path.endswith(".md"):
        return
    for match in re.finditer(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)", file.text):
        path, anchor = match.groups()
        line = line_of(file.text, match.start())
        target = (file.root / file.path).parent / path if path else file.root / file.path
        if not target.exists():
            yield line, f"there is no {path}"
            continue
        if anchor and target.is_dir():  # GitHub shows its README
            target /= "README.md"
        if anchor and anchor not in anchors_of(target.read_text(encoding="utf-8")):
            yield line, f"{path or file.path} has no #{anchor}"


RULES = {
    "includes": check_includes,
    "seams": check_seams,
    "file_length": check_file_length,
    "function_length": check_function_length,
    "sleep": check_sleep,
    "guard": check_guard,
    "todo": check_todo,
    "links": check_links,
}


def source_files(root: Path) -> Iterator[SourceFile]:
    endings = CPP_ENDINGS | SCRIPT_ENDINGS | {".proto", ".txt", ".cmake", ".textproto", ".yaml", ".md"}
    if (root / "README.md").is_file():
        yield SourceFile(root, "README.md")
    for folder in SOURCE_FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and path.suffix in endings and "__pycache__" not in path.parts:
                yield SourceFile(root, path.relative_to(root).as_posix())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[2])
    parser.add_argument("--rule", action="append", choices=sorted(RULES))
    options = parser.parse_args(arguments)
    files = list(source_files(options.root))
    if not files:
        print(f"{options.root}: no source files", file=sys.stderr)
        return 2
    breaches = [
        f"{file.path}:{line}: {text}"
        for rule in options.rule or RULES
        for file in files
        for line, text in RULES[rule](file)
    ]
    print("\n".join(breaches) if breaches else f"{len(files)} files, no breach")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
