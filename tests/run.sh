#!/usr/bin/env bash
# Installs what the tests need, builds, and runs all of them through CTest.
#
#   tests/run.sh [--preset dev|asan|tsan|clang|release] [-R REGEX]
#
# Without options: formatting, the dev preset with every test, all that read again where io_uring is
# forbidden (as container runtimes do), a build without cuda.h, headers on their own, and a clang
# build of the programs (lock annotations) with a short run of each fuzzer. With --preset only that
# one, tests and all; with -R only its tests whose names match. The last line is `N passed, N failed`.
#
# Never run here: benchmarks (tests/bench), and tests with label gpu where there is no GPU.
set -euo pipefail
export LC_ALL=C.UTF-8
# Two build folders of one tree share what they compile alike.
export CCACHE_BASEDIR="${CCACHE_BASEDIR:-$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")}" CCACHE_NOHASHDIR=1
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/lib.sh
. deploy/lib.sh

preset=""
regex=""
while (($# > 0)); do
  case "$1" in
    --preset) preset="${2:?--preset needs a name}" && shift 2 ;;
    -R) regex="${2:?-R needs a regular expression}" && shift 2 ;;
    -h | --help) sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit 0 ;;
    *) die "unknown option $1 (see --help)" ;;
  esac
done
case "$preset" in
  "" | dev | asan | tsan | clang | release) ;;
  *) die "unknown preset $preset: dev, asan, tsan, clang or release" ;;
esac

passed=0
failed=0
results=() # JUnit files of CTest
ctest_wrapper=() # a command that runs ctest
cmake_arguments=()
build_targets=() # of run_preset; all, without any

step() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }
skip() { echo "skipped: $*"; }

# check TEXT COMMAND...: one check outside CTest.
check() {
  step "$1"
  if "${@:2}"; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "FAILED: $1"; fi
}

check_format() {
  local files
  mapfile -t files < <(find common convert daemon client tests -name '*.h' -o -name '*.cc')
  clang-format --dry-run -Werror "${files[@]}"
}

# python_venv NAME VARIABLE REQUIREMENTS ARGUMENT...: a Python environment with the packages of a
# file, with fixed versions, in build/NAME; CMake gets its interpreter as VARIABLE.
python_venv() {
  local folder="build/$1" wanted="tests/integration/$3"
  if ! cmp -s "$wanted" "$folder/requirements.txt"; then
    rm -rf "$folder"
    if ! quietly "$1" /usr/bin/python3 -m venv "${@:4}" "$folder" ||
      ! quietly "pip-$1" "$folder/bin/pip" install -q --disable-pip-version-check --no-deps -r "$wanted"; then
      rm -rf "$folder"
      skip "Python tests that need $wanted: PyPI does not give it"
      return 0
    fi
    cp "$wanted" "$folder/requirements.txt"
  fi
  cmake_arguments+=("-D$2=$PWD/$folder/bin/python")
}

# What is built where no cuda.h is wanted or to be had, with dev's flags: most of it is what dev
# compiled, and ccache has it.
build_without_cuda() {
  quietly configure-nocuda cmake --preset dev -B build/nocuda -DWEIGHTD_CUDA_INCLUDE_DIR=OFF &&
    quietly build-nocuda cmake --build build/nocuda --target weightd weightctl weightd_make_checkpoint
}

# run_ctest PRESET ARGUMENT...
run_ctest() {
  local preset="$1" result="$PWD/build/$1.$((${#results[@]})).xml" status=0
  rm -f "$result"
  "${ctest_wrapper[@]}" ctest --preset "$preset" -j "$(nproc)" --test-output-size-passed 65536 --output-junit "$result" "${@:2}" || status=$?
  if [[ -f $result ]]; then
    results+=("$result")
  elif ((status != 0)); then
    failed=$((failed + 1))
    echo "FAILED: ctest of $preset ended with $status"
  fi
}

# run_preset PRESET CTEST_ARGUMENT...: configures, builds and tests one preset.
run_preset() {
  step "$1: configure and build"
  if configure "$1" "${cmake_arguments[@]}" && build "$1" "${build_targets[@]}"; then
    passed=$((passed + 1))
    step "$1: tests"
    run_ctest "$@"
  else
    failed=$((failed + 1))
    echo "FAILED: $1: configure and build"
  fi
}

step "packages"
install_packages build test
mkdir -p build
python_venv venv WEIGHTD_PYTHON python/requirements.txt
python_venv venv-torch WEIGHTD_TORCH_PYTHON python/requirements-torch.txt --system-site-packages
python_venv venv-kubernetes WEIGHTD_KUBERNETES_PYTHON kubernetes/requirements.txt
cuda_header || skip "tests of the CUDA implementation and the fake driver: there is no cuda.h"
cmake_arguments+=("-DWEIGHTD_CUDA_INCLUDE_DIR=$cuda_include")

# What reads no volume, or decides itself whether io_uring is there, says nothing new without it.
without_reads='^(Container|Kubernetes|Observability|Tidy)\.|SimulationTest'
unwanted='^(bench|fuzz|gpu)$'
if [[ -e /dev/nvidiactl ]]; then
  unwanted='^(bench|fuzz)$'
else
  skip "tests with label gpu: this machine has no GPU (/dev/nvidiactl)"
fi

if [[ -n $regex ]]; then
  run_preset "${preset:-dev}" -R "$regex" -LE "^bench$"
elif [[ $preset == clang ]]; then
  run_preset clang -LE "${unwanted/|fuzz/}"
elif [[ -n $preset ]]; then
  run_preset "$preset" -LE "$unwanted"
else
  check "format of the C++ files" check_format
  run_preset dev -LE "$unwanted"
  step "dev: tests without io_uring"
  ctest_wrapper=(build/dev/tests/weightd_without_uring)
  run_ctest dev -LE "$unwanted" -E "$without_reads"
  ctest_wrapper=()
  check "the programs build without cuda.h" build_without_cuda
  check "headers compile on their own" build dev all_verify_interface_header_sets
  build_targets=(weightd weightctl weightd_client weightd_fuzzers)
  run_preset clang -L '^fuzz$' --no-tests=ignore
fi

step "summary"
/usr/bin/python3 tests/summary.py --passed "$passed" --failed "$failed" "${results[@]}"
