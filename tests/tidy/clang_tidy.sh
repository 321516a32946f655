#!/usr/bin/env bash
# Runs clang-tidy by hand: tests/tidy/clang_tidy.sh [--all] [FILE.cc...]
#
# Without arguments: the .cc files that differ from the last commit. With --all: every one that the
# clang preset compiles (tens of minutes). WEIGHTD_BUILD names another folder with a
# compile_commands.json; build there first, since generated headers must exist.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build="${WEIGHTD_BUILD:-build/clang}"
if [[ ! -f $build/compile_commands.json ]]; then
  echo "clang_tidy.sh: no $build/compile_commands.json; run: cmake --preset clang && cmake --build --preset clang" >&2
  exit 2
fi
case "${1:-}" in
  --all) mapfile -t files < <(git ls-files 'common/*.cc' 'convert/*.cc' 'daemon/*.cc' 'client/*.cc' 'tests/*.cc') ;;
  "") mapfile -t files < <({ git diff --name-only HEAD -- '*.cc'; git ls-files --others --exclude-standard -- '*.cc'; } | sort -u) ;;
  *) files=("$@") ;;
esac
# Only what this configuration compiles: clang-tidy guesses flags for the rest.
compiled=()
for file in "${files[@]}"; do
  if grep -qF "\"file\": \"$PWD/${file#"$PWD"/}\"" "$build/compile_commands.json"; then compiled+=("$file"); fi
done
if ((${#compiled[@]} == 0)); then
  echo "clang_tidy.sh: no file to check"
  exit 0
fi
printf '%s\0' "${compiled[@]}" |
  xargs -0 -n 1 -P "$(nproc)" clang-tidy --quiet -p "$build"
