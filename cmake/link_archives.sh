#!/usr/bin/env bash
# link_archives.sh LINKER ARGUMENT...: links with the archive (libNAME.a) of each shared library on
# the line that has one beside it; the rest, and libc and libstdc++, stay shared. CMake runs it in
# front of the link of weightd and weightctl (WEIGHTD_STATIC): Debian's imported targets name shared
# libraries only, and swapping those would change the client library and the tests too.
set -euo pipefail

# archive_of ARGUMENT: prints what stands in for it; fails where it stays as it is.
archive_of() {
  local archive
  case "$1" in
    */libxxhash.so*) return 1 ;; # its archive lacks the dispatch by processor (xxh_x86dispatch.h)
    /*/lib*.so | /*/lib*.so.*) archive="${1%%.so*}.a" ;;
    -lre2) archive="$("${linker[0]}" -print-file-name=libre2.a)" ;; # re2's target names it so
    *) return 1 ;;
  esac
  [[ -f $archive ]] && echo "$archive"
}

linker=("$1")
shift
arguments=()
for argument; do
  if archive="$(archive_of "$argument")"; then argument="$archive"; fi
  arguments+=("$argument")
done
# In a group: the order of shared libraries does not matter, and CMake's is not one for archives.
exec "${linker[@]}" -Wl,--start-group "${arguments[@]}" -Wl,--end-group
