#!/usr/bin/env bash
# From a fresh Debian 12 machine to a checkpoint that one process stages to host memory and another
# attaches to. GPUs are left alone here; what is built can use them.
#
#   deploy/quickstart.sh [CHECKPOINT]
#
# CHECKPOINT is a .safetensors file or a directory of them (a Hugging Face cache's models--org--name
# too); without one, a sharded checkpoint of 512 MiB is made. Everything else is temporary: the
# daemon and the made checkpoint are gone when the script ends, however it ends.
# Where no CUDA Toolkit is, its cuda.h comes from PyPI; WEIGHTD_CUDA_INCLUDE_DIR=OFF builds for host
# memory only.
set -euo pipefail
export LC_ALL=C
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=deploy/checkpoint.sh
. "$(dirname "${BASH_SOURCE[0]}")/checkpoint.sh"

bin="$weightd_root/build/release/bin"
made_mib=512
scratch="" # the made checkpoint
sockets="" # the socket directory, and the daemon's log
daemon_pid=""

usage() {
  sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit "$1"
}

stop_daemon() {
  [[ -n $daemon_pid ]] || return 0
  kill -TERM "$daemon_pid" 2>/dev/null || true
  for _ in {1..100}; do
    kill -0 "$daemon_pid" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "$daemon_pid" 2>/dev/null || true
  wait "$daemon_pid" 2>/dev/null || true
  daemon_pid=""
}

clean_up() {
  local status=$?
  trap - EXIT INT TERM HUP
  stop_daemon
  if ((status != 0)) && [[ -s $sockets/weightd.log ]]; then
    echo "--- the daemon's last lines:" >&2
    tail -n 15 "$sockets/weightd.log" >&2
  fi
  [[ -z $scratch ]] || rm -rf -- "$scratch"
  [[ -z $sockets ]] || rm -rf -- "$sockets"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

step() { printf '\n== %s\n' "$*"; }

make_checkpoint() {
  scratch="$(mktemp -d "$weightd_root/build/quickstart.XXXXXX")"
  "$bin/weightd_make_checkpoint" --layout sharded --shards 4 --size "${made_mib}MiB" "$scratch/demo" >/dev/null ||
    die "cannot make a checkpoint in $scratch"
  checkpoint="$scratch/demo"
}

start_daemon() {
  sockets="$(mktemp -d /tmp/weightd-quickstart.XXXXXX)"
  export WEIGHTD_SOCKET_DIR="$sockets"
  "$bin/weightd" --root "$(dirname "$checkpoint")" --socket-dir "$sockets" --state-file "$sockets/state.json" \
    --cuda.enabled=OFF \
    2>"$sockets/weightd.log" &
  daemon_pid=$!
  for _ in {1..300}; do
    kill -0 "$daemon_pid" 2>/dev/null || die "weightd ended while it started"
    ! "$bin/weightctl" health >/dev/null 2>&1 || return 0
    sleep 0.1
  done
  die "weightd is not healthy after 30 seconds"
}

# attach_and_compare MODEL: one tensor through another process, against the file.
attach_and_compare() {
  local file name begin end expected got
  file="$(first_file "$checkpoint")"
  read -r name begin end < <(some_tensor "$file") || true
  if [[ -z $name ]]; then
    echo "(no tensor compared: the header of ${file##*/} is not plain enough for this script)"
    return 0
  fi
  expected="$(tensor_sha256 "$file" "$begin" "$end")"
  local started
  started="$(now_us)"
  got="$("$bin/weightctl" read "$1" "$name" | sha256sum | cut -d ' ' -f 1)"
  attach_us=$(($(now_us) - started))
  [[ $got == "$expected" ]] || die "$name differs from $file at $begin"
  echo "$name: $((end - begin)) bytes, as in ${file##*/} (sha256 ${got:0:12})"
}

case "${1:-}" in
  -h | --help) usage 0 ;;
  -*) usage 2 >&2 ;;
esac
(($# <= 1)) || usage 2 >&2
checkpoint="${1:-}"
if [[ -n $checkpoint ]]; then
  check_given "$checkpoint"
  checkpoint="$(realpath -s -- "$checkpoint")"
fi

step "packages and build (the first time takes some minutes)"
install_packages build
mkdir -p "$weightd_root/build" 2>/dev/null || true
[[ -w $weightd_root/build ]] ||
  die "$weightd_root/build: not writable by $(id -un)"
need_space "$weightd_root/build" $((1024 + made_mib))
cuda_header || true # it has said what is missing
configure release "-DWEIGHTD_CUDA_INCLUDE_DIR=$cuda_include"
build release weightd weightctl weightd_make_checkpoint

step "checkpoint"
[[ -n $checkpoint ]] || make_checkpoint
model="$(model_name "$checkpoint")"
du -shD "$checkpoint" | awk '{ printf "%s  %s\n", $2, $1 }'

step "weightd on host memory"
start_daemon
echo "healthy, pid $daemon_pid, sockets in $sockets"

step "weightctl stage $model --wait"
started="$(now_us)"
"$bin/weightctl" stage "$model" --wait
stage_us=$(($(now_us) - started))

step "weightctl read: attach from another process"
attach_us=""
attach_and_compare "$model"

step "weightctl ps"
"$bin/weightctl" ps

step "times"
echo "stage   $(seconds "$stage_us")"
[[ -z $attach_us ]] || echo "attach  $(seconds "$attach_us")  (a fresh process: start, connect, map, read one tensor)"
