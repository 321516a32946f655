#!/usr/bin/env bash
# Where cuda.h comes from (cuda_header of deploy/lib.sh), on a machine that has no CUDA Toolkit, and what
# is said where there is none. pip is a double: nothing is fetched.
#
#   cuda_header_test.sh REPOSITORY
set -euo pipefail
export LC_ALL=C
repository="$1"
work="$(mktemp -d)"
trap 'rm -rf -- "$work"' EXIT
failed=0

# A Python whose pip "fetches" what PIP_GIVES names (header, nothing, error).
mkdir "$work/bin"
cat >"$work/bin/python3" <<'END'
#!/usr/bin/env bash
echo "python3 $*" >>"$PIP_LOG"
[[ "$1 $2" == "-m venv" ]] || exit 9
mkdir -p "$3/bin"
cat >"$3/bin/python" <<'PIP'
#!/usr/bin/env bash
echo "pip $*" >>"$PIP_LOG"
[[ $PIP_GIVES != error ]] || { echo "ERROR: no network" >&2; exit 1; }
while [[ $1 != --target ]]; do shift; done
mkdir -p "$2/nvidia/cuda_runtime/include"
[[ $PIP_GIVES != header ]] || touch "$2/nvidia/cuda_runtime/include/cuda.h"
PIP
chmod +x "$3/bin/python"
END
chmod +x "$work/bin/python3"
export PIP_LOG="$work/pip.log" PATH="$work/bin:$PATH" WEIGHTD_CUDA_WHEEL_DIR="$work/cuda"
unset CUDA_HOME CUDA_PATH WEIGHTD_CUDA_INCLUDE_DIR

# look GIVES [VARIABLE=VALUE...]: runs cuda_header in a shell of its own; its lines are in $out, with
# "include PATH" and "status N" last.
look() {
  # shellcheck disable=SC2016  # expanded there
  out="$(env PIP_GIVES="$1" "${@:2}" bash -euo pipefail -c '
    . "$1/deploy/lib.sh"
    weightd_root="$2"  # logs
    cuda_toolkit_includes=("${CUDA_HOME:+$CUDA_HOME/include}")  # as if the machine had none
    install_packages() { echo "packages: $*"; }
    status=0
    cuda_header || status=$?
    echo "include $cuda_include"
    echo "status $status"' bash "$repository" "$work" 2>&1)"
}

# expect TEXT PATTERN...: each pattern is in $out.
expect() {
  local pattern
  for pattern in "${@:2}"; do
    grep -qE -- "$pattern" <<<"$out" && continue
    failed=1
    printf 'FAILED: %s: no "%s" in\n%s\n' "$1" "$pattern" "$out"
  done
}

look error WEIGHTD_CUDA_INCLUDE_DIR=OFF
expect "asked for" 'OFF: this build uses host memory only, no GPU' '^include OFF$' '^status 0$'
[[ ! -e $PIP_LOG ]] || { echo "FAILED: OFF asks PyPI" && failed=1; }

look error
expect "without a network" '^WARNING: no cuda.h' 'USES NO GPU' 'PIP_INDEX_URL' 'no network' '^include OFF$' '^status 1$'
look nothing
expect "a wheel without it" '^WARNING: no cuda.h' '^include OFF$' '^status 1$'
[[ -z "$(find "$work/cuda" -mindepth 1)" ]] || { echo "FAILED: halves are left:" && find "$work/cuda" && failed=1; }

look header
expect "from PyPI" '^packages: image$' 'comes from PyPI \(nvidia-cuda-runtime-cu12==' \
  "^include $work/cuda/nvidia/cuda_runtime/include\$" '^status 0$'
grep -q -- '^pip -m pip install .*--no-deps .*nvidia-cuda-runtime-cu12==[0-9.]*$' "$PIP_LOG" ||
  { echo "FAILED: the wheel is not pinned:" && cat "$PIP_LOG" && failed=1; }

rm "$PIP_LOG"
look error
expect "a second time" "^include $work/cuda/nvidia/cuda_runtime/include\$" '^status 0$'
[[ ! -e $PIP_LOG ]] || { echo "FAILED: it is fetched again" && failed=1; }

mkdir -p "$work/toolkit/include" && touch "$work/toolkit/include/cuda.h"
look error CUDA_HOME="$work/toolkit"
expect "a Toolkit goes first" "^include $work/toolkit/include\$" '^status 0$'
look error WEIGHTD_CUDA_INCLUDE_DIR="$work/toolkit/include"
expect "a folder that is given" "^include $work/toolkit/include\$" '^status 0$'
out="$(WEIGHTD_CUDA_INCLUDE_DIR="$work" bash -c '. "$1/deploy/lib.sh"; cuda_header; echo went on' bash "$repository" 2>&1)" || true
expect "a folder without it" "there is no $work/cuda.h"
! grep -q 'went on' <<<"$out" || { echo "FAILED: goes on with a wrong folder" && failed=1; }

# What CMake says by itself: nothing of it may be missed, unless it is asked for.
configure() {
  out="$(cmake -S "$repository" -B "$work/build" -G Ninja -DBUILD_TESTING=OFF "$@" 2>&1)" || true
}
if [[ ! -e /usr/include/cuda.h ]]; then # where CMake has to look
  configure "-DCMAKE_IGNORE_PATH=/usr/local/include;/usr/local/cuda/include;/usr/lib/cuda/include;$repository/build/cuda/nvidia/cuda_runtime/include"
  expect "CMake without cuda.h" 'CMake Warning' 'USES NO' 'cuda_header' 'WEIGHTD_CUDA_INCLUDE_DIR=OFF'
fi
configure -DWEIGHTD_CUDA_INCLUDE_DIR=OFF
expect "CMake that is told" 'left out \(WEIGHTD_CUDA_INCLUDE_DIR is OFF\)'
! grep -q 'CMake Warning' <<<"$out" || { echo "FAILED: a warning of what was asked for" && failed=1; }
exit "$failed"
