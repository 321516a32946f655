#!/usr/bin/env bash
# The tests and figures that need a real GPU.
#
#   tests/gpu.sh pack [PRESET]   copies what they need out of build/PRESET (dev) into build/gpu.tar.xz
#   tests/gpu.sh run [GIB]       runs them on this machine's first GPU, with a model of GIB (8) GiB
#
# `run` takes the programs from the pack where there is one (a machine where nothing can be built or
# installed: copy the checkout with build/gpu.tar.xz), else from build/dev. It writes what it found
# to $OUT (build/gpu-out).
set -euo pipefail
export LC_ALL=C.UTF-8
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/lib.sh
. deploy/lib.sh

programs=(bin/weightd bin/weightctl bin/weightd_make_checkpoint tests/weightd_attach_probe
  tests/weightd_device_peer tests/weightd_device_contract_test tests/weightd_cuda_device_test
  tests/weightd_daemon_cuda_test tests/weightd_history_test tests/weightd_history_client)
# The C library is the other machine's.
system_libraries='^(linux-vdso|ld-linux-x86-64|libc|libm|libdl|librt|libpthread|libresolv|libcuda)\.so'

step() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }

pack() {
  local build="build/$1" to program path
  to="$(mktemp -d)"
  mkdir -p "$to/bin" "$to/tests" "$to/lib"
  # Tests know the programs by their absolute paths.
  realpath "$build" >"$to/built_at"
  for program in "${programs[@]}"; do
    [[ -x $build/$program ]] || die "$build/$program: not built"
    strip -o "$to/$program" "$build/$program"
    while read -r path; do
      [[ ${path##*/} =~ $system_libraries ]] || cp -Lu "$path" "$to/lib/"
    done < <(ldd "$build/$program" | awk '$3 ~ /^\// { print $3 }')
  done
  tar -C "$to" -cJf build/gpu.tar.xz .
  rm -rf "$to"
  du -h build/gpu.tar.xz
}

unpack() {
  local at
  mkdir -p build/gpu
  tar -C build/gpu -xJf build/gpu.tar.xz
  build="$PWD/build/gpu"
  at="$(<build/gpu/built_at)"
  mkdir -p "$(dirname "$at")"
  [[ -e $at ]] || ln -s "$build" "$at"
  export LD_LIBRARY_PATH="$build/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
}

passed=0
failed=0
# run_test NAME ARGUMENT...
run_test() {
  local name="$1"
  step "$name ${*:2}"
  if timeout 240 "$build/tests/$name" --gtest_brief=1 "${@:2}" >"$out/$name.log" 2>&1; then
    grep -v -A 1 Skipped "$out/$name.log" | grep -E '^\[|^WEIGHTD' || true
    passed=$((passed + 1))
  else
    failed=$((failed + 1)) && echo "FAILED: $name"
    grep -A 12 ': Failure$' "$out/$name.log" | head -n 120
  fi
}

json() { python3 -c "import json,sys; d=json.load(sys.stdin); print($1)"; }
ctl() { "$build/bin/weightctl" "$@"; }
stage() { ctl stage "$1" --wait --device "$gpu" >/dev/null 2>"$out/stage.log" || cat "$out/stage.log"; }
# The last stage, in one line.
last_stage() {
  ctl -o json stages | json "'  %-26s' % '$1', {k: v for k, v in d['reports'][0].items() if v and (k.endswith(('_time', '_bytes', '_second', 'backs')) or k in ('source', 'engine'))}"
}
drop_cache() { sync && echo 3 >/proc/sys/vm/drop_caches 2>/dev/null || echo "  (the page cache could not be dropped)"; }

# Stages one model from the volume (cold and warm), to the host, and from there to the GPU.
figures() {
  local dir="$scratch/figures" pid gib="$1"
  mkdir -p "$dir/root" "$dir/run"
  "$build/bin/weightd_make_checkpoint" --layout sharded --shards 4 --size "${gib}GiB" "$dir/root/model" >/dev/null
  "$build/bin/weightd_make_checkpoint" --layout sharded --shards 1 --size 64MiB "$dir/root/small" >/dev/null
  export WEIGHTD_SOCKET_DIR="$dir/run"
  "$build/bin/weightd" --root "$dir/root" --socket-dir "$dir/run" --state-file "$dir/state.json" --cuda.enabled ON \
    --host.budget-bytes "$(((gib + 1) << 30))" 2>"$out/weightd.log" &
  pid=$!
  for _ in {1..100}; do ctl health >/dev/null 2>&1 && break || sleep 0.1; done
  ctl status || true
  local round
  for round in 1 2; do
    drop_cache
    stage model
    last_stage "cold volume to GPU, $round"
    ctl evict model >/dev/null
    cat "$dir"/root/model/*.safetensors >/dev/null
    stage model
    last_stage "page cache to GPU, $round"
    ctl evict model --device "$gpu" >/dev/null # is kept in the host tier
    stage model
    last_stage "host copy to GPU, $round"
    ctl evict model >/dev/null
  done
  stage small
  stage model
  local tensor started model
  for model in small model model; do
    tensor="$(ctl -o json tensors "$model" | json "min(d['tensors'], key=lambda t: int(t['bytes']))['name']")"
    started="${EPOCHREALTIME/./}"
    ctl read "$model" "$tensor" | wc -c
    echo "  attach to $model and read one tensor, process and CUDA context included: $(((${EPOCHREALTIME/./} - started) / 1000)) ms"
  done
  ctl ps
  ctl status
  nvidia-smi --query-compute-apps=pid,name,used_memory --format=csv || true
  kill -TERM "$pid" && wait "$pid" && echo "  weightd ended cleanly"
}

run() {
  out="${OUT:-build/gpu-out}"
  mkdir -p "$out"
  out="$(realpath "$out")"
  if [[ -f build/gpu.tar.xz ]]; then unpack; else build="$PWD/build/dev"; fi
  gpu="$(nvidia-smi --query-gpu=uuid --format=csv,noheader | head -n 1)"
  [[ $gpu == GPU-* ]] || die "nvidia-smi names no GPU"
  export WEIGHTD_TEST_GPU="$gpu"
  scratch="$(mktemp -d)"
  trap 'rm -rf "$scratch"' EXIT
  export TMPDIR="$scratch"
  step "machine"
  nvidia-smi --query-gpu=name,uuid,driver_version,memory.total,pcie.link.gen.current,pcie.link.width.current --format=csv
  uname -r && df -hT "$scratch" | tail -1 && "$build/bin/weightd" --version
  run_test weightd_device_contract_test
  run_test weightd_cuda_device_test
  run_test weightd_daemon_cuda_test
  step "figures"
  if figures "${1:-8}"; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "FAILED: figures"; fi
  run_test weightd_history_test --gtest_filter='CudaHistoryTest.*'
  echo "$passed passed, $failed failed"
  ((failed == 0))
}

case "${1:-}" in
  pack) pack "${2:-dev}" ;;
  run) run "${2:-8}" ;;
  *) sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit 2 ;;
esac
