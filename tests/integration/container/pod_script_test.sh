#!/usr/bin/env bash
# deploy/pod.sh, as the README has it, with programs that are built already; and what it says when it
# is used wrong.
#
#   pod_script_test.sh REPOSITORY BUILD
set -euo pipefail
script="$1/deploy/pod.sh"
bin="$2/bin"

# After this every failure counts.
/usr/bin/python3 "$(dirname "${BASH_SOURCE[0]}")/podman_pod.py" "$1"
export WEIGHTD_CONTAINER_TOOL=podman
WEIGHTD_POD_IMAGE="localhost/weightd-test-script:$$"
export WEIGHTD_POD_IMAGE
work="$(mktemp -d)"
clean_up() {
  podman rmi -f "$WEIGHTD_POD_IMAGE" >/dev/null 2>&1 || true
  rm -rf -- "$work"
}
trap clean_up EXIT

# expect STATUS TEXT ARGUMENT...
expect() {
  local wanted="$1" text="$2" status=0
  "$script" "${@:3}" >"$work/said" 2>&1 || status=$?
  if ((status != wanted)) || ! grep -qF -- "$text" "$work/said"; then
    cat "$work/said"
    echo "pod.sh ${*:3}: ended with $status, wanted $wanted and: $text"
    exit 1
  fi
}

expect 0 "weightd ended with 0" --prebuilt "$bin" --seccomp default
grep -q '^storage *pread (io_uring setup' "$work/said" || { cat "$work/said" && exit 1; }
"$bin/weightd_make_checkpoint" --layout hub --size 8MiB "$work/hub" >/dev/null
chmod -R a+rX "$work"
expect 0 "sha256" --image "$WEIGHTD_POD_IMAGE" --seccomp weightd "$work/hub/models--test-org--test-model"
expect 1 "no such file" --image "$WEIGHTD_POD_IMAGE" "$work/nothing"
expect 1 "there is no image" --image localhost/weightd-nothing
expect 1 "unknown seccomp profile" --seccomp none
expect 2 "deploy/pod.sh [" --nonsense
left="$(podman ps -aq --filter name=weightd-pod-; podman volume ls -q --filter name=weightd-pod-)"
[[ -z $left ]] || { echo "pod.sh leaves behind: $left" && exit 1; }
