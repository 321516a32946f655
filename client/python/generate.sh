#!/usr/bin/env bash
# Makes the Python messages of proto/weightd/v1 anew, with Debian's protoc 3.21: what it writes runs
# with protobuf 4, 5 and 6. They are kept in the repository, so that pip needs no protoc.
#
#   generate.sh           writes src/weightd/v1/*_pb2.py and .pyi
#   generate.sh --check   fails where these are not what it would write
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

made="$(mktemp -d)"
trap 'rm -rf "$made"' EXIT
protoc -I ../../proto --python_out="$made" --pyi_out="$made" ../../proto/weightd/v1/weight_cache.proto
for name in weight_cache_pb2.py weight_cache_pb2.pyi; do
  if [[ ${1:-} == --check ]]; then
    cmp "$made/weightd/v1/$name" "src/weightd/v1/$name" ||
      { echo "$name is not that of weight_cache.proto: run client/python/generate.sh" >&2 && exit 1; }
  else
    cp "$made/weightd/v1/$name" src/weightd/v1/
  fi
done
