#!/usr/bin/env bash
# man_pages.sh PAGE...: every page is there, says what it is, and no tool warns of it.
set -euo pipefail
command -v man groff >/dev/null || { echo "skipped: man-db and groff are not installed" && exit 77; }
for page in "$@"; do
  warnings="$(man --warnings -l "$page" 2>&1 >/dev/null; groff -man -Tutf8 -ww -z "$page" 2>&1)"
  [[ -z $warnings ]] || { printf '%s: %s\n' "$page" "$warnings" >&2 && exit 1; }
  shown="$(MANWIDTH=100 man -l "$page" | sed 's/.\x08//g')"
  for section in NAME SYNOPSIS EXAMPLES OPTIONS "EXIT STATUS" "SEE ALSO"; do
    grep -q "^$section" <<<"$shown" || { echo "$page has no section $section" >&2 && exit 1; }
  done
  # Examples first: what most come for.
  first="$(grep -xE 'NAME|SYNOPSIS|EXAMPLES|DESCRIPTION' <<<"$shown" | tr '\n' ' ')"
  [[ $first == "NAME SYNOPSIS EXAMPLES DESCRIPTION " ]] || { echo "$page begins with $first" >&2 && exit 1; }
done
# One line each of what only the real source has.
grep -q 'storage.engine AUTO|URING|PREAD' "${@: -1}" || { echo "weightd(8) lacks storage.engine" >&2 && exit 1; }
grep -q 'health.*OPTION' "$1" || { echo "weightctl(1) lacks health" >&2 && exit 1; }
