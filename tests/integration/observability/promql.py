"""Which metrics a PromQL expression names."""

from __future__ import annotations

import re

_KEYWORDS = {"and", "or", "unless", "by", "on", "without", "ignoring", "group_left", "group_right", "bool", "offset"}


def metric_names(expression: str) -> set[str]:
    """Identifiers that are neither keywords, functions nor labels."""
    text = re.sub(r'"(?:[^"\\]|\\.)*"', "", expression)
    text = re.sub(r"\{[^}]*\}", "", text)
    text = re.sub(r"\[[^\]]*\]", "", text)
    text = re.sub(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)", " ", text)
    found = re.finditer(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?P<call>\s*\()?", text)
    names = {match[0] for match in found if match["call"] is None}
    return names - _KEYWORDS
