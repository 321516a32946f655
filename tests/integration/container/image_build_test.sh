#!/usr/bin/env bash
# deploy/debian_base.sh, and deploy/pod.sh with the image's own build, as who cannot pull Debian 12 runs
# them: a base by debootstrap, weightd compiled in the image's build stage, the pod of it.
#
#   WEIGHTD_TEST_IMAGE_BUILD=1 image_build_test.sh REPOSITORY
#
# From what is committed. Takes a quarter of an hour on two cores, root, debootstrap, 8 GB below /var/tmp,
# and Debian's and PyPI's mirrors: without the variable it is skipped. podman has a storage of its own
# for it, so that no image of this machine is used or left.
set -euo pipefail
export LC_ALL=C
repository="$1"

if [[ ${WEIGHTD_TEST_IMAGE_BUILD:-} != 1 ]]; then
  echo "skipped: compiles weightd in an image, a quarter of an hour; WEIGHTD_TEST_IMAGE_BUILD=1 wants it"
  exit 77
fi

work="$(mktemp -d /var/tmp/weightd-image-build.XXXXXX)"
tool="$work/podman"
image=localhost/weightd:built
clean_up() {
  "$tool" rm -af >/dev/null 2>&1 || true
  "$tool" rmi -af >/dev/null 2>&1 || true
  umount "$work/storage/overlay" 2>/dev/null || true # podman mounts it onto itself
  rm -rf --one-file-system -- "$work"
}
trap clean_up EXIT
printf '#!/bin/sh\nexec %s --root %s/storage --runroot %s/run "$@"\n' "$(command -v podman)" "$work" "$work" >"$tool"
chmod +x "$tool"
export WEIGHTD_CONTAINER_TOOL="$tool" WEIGHTD_POD_IMAGE="$image"

fail() {
  tail -n 60 "$work/said"
  echo "$*"
  exit 1
}

# said PATTERN: of the script that ran last.
said() { grep -qE -- "$1" "$work/said" || fail "nothing is said of: $1"; }

# run NAME ARGUMENT...: a script of deploy/, in the copy.
run() {
  "$work/tree/deploy/$1" "${@:2}" >"$work/said" 2>&1 || fail "$*: ended with $?"
}

mkdir "$work/tree"
git -C "$repository" archive HEAD | tar -C "$work/tree" -x

run debian_base.sh localhost/debian:bookworm
said '^localhost/debian:bookworm$'
run pod.sh --base localhost/debian:bookworm --seccomp weightd
said "^$image  [0-9]{1,2} MB$"
said 'bytes, as in model-'
said '^weightd ended with 0$'
said '^attach  '

# inspect TEMPLATE
inspect() { "$tool" image inspect -f "$1" "$image"; }
[[ $(inspect '{{.User}}') == 65532:65532 ]] || fail "the image's user: $(inspect '{{.User}}')"
! inspect '{{.Config.Env}}' | grep NVIDIA_VISIBLE_DEVICES || fail "the image asks for GPUs"
run pod.sh --image "$image"
said '^weightd ended with 0$'
