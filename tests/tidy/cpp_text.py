"""C++ source as text: enough to find functions without a compiler."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
    (?P<comment> //[^\n]* | /\*.*?\*/ )
  | (?P<raw> R"(?P<delimiter>[^()\\\s]{0,16})\(.*?\)(?P=delimiter)" )
  | (?P<string> "(?:\\.|[^"\\\n])*" )
  | (?P<character> (?<![0-9a-fA-F])'(?:\\[^\n][^'\n]{0,8}|[^'\\\n])' )
    """,
    re.VERBOSE | re.DOTALL,
)


def blank(text: str, literals: bool) -> str:
    """Replaces comments, and with `literals` what quotes hold, by spaces; lines stay."""

    def spaces(match: re.Match[str]) -> str:
        token = match.group()
        if match.group("comment") is None and not literals:
            return token
        return re.sub(r"[^\n]", " ", token)

    return _TOKEN.sub(spaces, text)


@dataclass(frozen=True)
class Function:
    name: str
    line: int  # of its first line
    line_count: int  # from there to the closing brace


_SCOPE = re.compile(r"(inline\s+|typedef\s+)*(namespace|class|struct|union|enum|extern)\b")
_NOT_HEAD = re.compile(r"\s+|(public|private|protected)\s*:(?!:)|template\s*<(?:[^<>]|<[^<>]*>)*>")


def _head(text: str, start: int, end: int) -> tuple[int, str]:
    """Where the declaration that opens a block begins, and its text."""
    while match := _NOT_HEAD.match(text, start, end):
        start = match.end()
    return start, text[start:end].rstrip()


def _is_function(head: str) -> bool:
    """Not a scope, not the initialiser of a table. Continued member initialisers count too."""
    return not head.endswith("=") and ("(" in head or head == "")


def functions(code: str) -> Iterator[Function]:
    """Functions in `code` (of blank(literals=True)) that are not inside another one."""
    # A directive and its continued lines hold no function that counts.
    code = re.sub(
        r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*",
        lambda match: re.sub(r"[^\n]", " ", match.group()),
        code,
        flags=re.MULTILINE,
    )
    open_blocks: list[tuple[str, int, str]] = []  # kind, start of the head, head
    after = 0  # the last brace or semicolon outside parentheses
    parentheses = 0
    for match in re.finditer(r"[{};()]", code):
        character, position = match.group(), match.start()
        if character in "()":
            parentheses += 1 if character == "(" else -1
        elif character == "{":
            start, head = _head(code, after, position)
            kind = "scope" if _SCOPE.match(head) else "function" if _is_function(head) else "table"
            open_blocks.append((kind, start, head))
        elif character == "}" and open_blocks:
            kind, start, head = open_blocks.pop()
            if kind == "function" and all(outer[0] == "scope" for outer in open_blocks):
                line = code.count("\n", 0, start) + 1
                yield Function(_name(head), line, code.count("\n", 0, position) + 2 - line)
        if character in "{}" or (character == ";" and parentheses == 0):
            after = position + 1


def _name(head: str) -> str:
    called = re.search(r"([\w:~]+)\s*\(([^()]*)", head)
    if called and called.group(1).startswith("TEST"):
        return re.sub(r"\s+", "", called.group(2)).replace(",", ".")
    return called.group(1) if called else "body"
