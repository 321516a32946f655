#!/usr/bin/env bash
# A pod of two containers on this machine, with podman or docker: weightd as a sidecar, and a client.
#
#   deploy/pod.sh [--image NAME | --prebuilt BIN_DIR] [--base IMAGE] [--seccomp default|weightd] [CHECKPOINT]
#
# Builds the image (some minutes the first time), stages a checkpoint to host memory in one container,
# attaches from the other and compares bytes with the file; GPUs are left alone. Each has namespaces of
# its own, no capabilities, no network and a read-only root; they share the sockets, which the client
# cannot write, and the volume, which neither can. CHECKPOINT is a .safetensors file or a directory of
# them, readable by all; without one, 256 MiB are made. Everything but the image is gone when the script
# ends.
#
#   --image NAME        use this image instead of building one
#   --prebuilt BIN_DIR  build it from weightd and weightctl in BIN_DIR: nothing is pulled or compiled
#   --base IMAGE        the build's Debian 12, where docker.io cannot be reached (deploy/debian_base.sh)
#   --seccomp weightd   with deploy/seccomp/weightd.json, which allows io_uring. `default` (which is
#                       the default) is the container tool's own: there weightd reads with threads
set -euo pipefail
export LC_ALL=C
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=deploy/checkpoint.sh
. "$(dirname "${BASH_SOURCE[0]}")/checkpoint.sh"

image=""
prebuilt=""
base=docker.io/library/debian:bookworm
seccomp=default
checkpoint=""
daemon_user=65532:65532
client_user=65533:65532 # may attach by its group, and neither stage nor evict
name="weightd-pod-$$"
scratch=""

usage() {
  sed -n '2,17s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit "$1"
}

while (($# > 0)); do
  case "$1" in
    --image) image="${2:?--image needs a name}" && shift 2 ;;
    --prebuilt) prebuilt="${2:?--prebuilt needs a directory}" && shift 2 ;;
    --base) base="${2:?--base needs an image}" && shift 2 ;;
    --seccomp) seccomp="${2:?--seccomp needs default or weightd}" && shift 2 ;;
    -h | --help) usage 0 ;;
    -*) usage 2 >&2 ;;
    *) [[ -z $checkpoint ]] || usage 2 >&2 && checkpoint="$1" && shift ;;
  esac
done
case "$seccomp" in
  default | weightd) ;;
  *) die "unknown seccomp profile $seccomp: default or weightd" ;;
esac

clean_up() {
  local status=$?
  trap - EXIT INT TERM HUP
  if ((status != 0)) && "${tool[@]}" container inspect "$name" >/dev/null 2>&1; then
    echo "--- the daemon's last lines:" >&2
    "${tool[@]}" logs "$name" 2>&1 | tail -n 15 >&2 || true
  fi
  "${tool[@]}" rm -f "$name" "$name-client" >/dev/null 2>&1 || true
  "${tool[@]}" volume rm -f "$name" >/dev/null 2>&1 || true
  [[ -z $scratch ]] || rm -rf -- "$scratch"
  exit "$status"
}

step() { printf '\n== %s\n' "$*"; }

# Two files, each with a large tensor and a small one, and nothing but a shell to make them.
make_checkpoint() {
  local shard header large=$((128 << 20)) small=8192
  checkpoint="$scratch/models/demo"
  mkdir -p "$checkpoint"
  for shard in 1 2; do
    printf -v header '{"layer.%d.weight":{"dtype":"BF16","shape":[%d,8192],"data_offsets":[0,%d]},' \
      "$shard" $((large / 16384)) "$large"
    printf -v header '%s"layer.%d.norm":{"dtype":"BF16","shape":[%d],"data_offsets":[%d,%d]}}' \
      "$header" "$shard" $((small / 2)) "$large" $((large + small))
    {
      printf '\x00\x01\0\0\0\0\0\0%-256s' "$header"
      head -c $((large + small)) /dev/urandom
    } >"$checkpoint/model-0000$shard-of-00002.safetensors"
  done
  chmod -R a+rX "$scratch" # the daemon is another user
}

build_image() {
  local once=()
  if [[ ${tool[0]} == *podman ]]; then once=(--layers=false); fi # keep no intermediate images
  if [[ -n $image ]]; then
    "${tool[@]}" image inspect "$image" >/dev/null 2>&1 || die "there is no image $image"
  elif [[ -n $prebuilt ]]; then
    image="${WEIGHTD_POD_IMAGE:-weightd:prebuilt}"
    "$weightd_root/deploy/image_files.sh" "$prebuilt" "$scratch/image"
    "${tool[@]}" build -q "${once[@]}" -t "$image" -f "$weightd_root/deploy/Containerfile" --target prebuilt "$scratch/image" >/dev/null
  else
    image="${WEIGHTD_POD_IMAGE:-weightd:latest}"
    "${tool[@]}" build --network=host "${limits[@]}" --build-arg BASE="$base" -t "$image" \
      -f "$weightd_root/deploy/Containerfile" "$weightd_root"
  fi
  "${tool[@]}" image inspect -f '{{.Size}}' "$image" | awk -v name="$image" '{ printf "%s  %.0f MB\n", name, $1 / 1e6 }'
}

# client COMMAND...: in a container of its own, the second of the pod.
client() {
  "${tool[@]}" run --rm --name "$name-client" --user "$client_user" "${container[@]}" \
    -v "$name:/run/weightd:ro" -v "$models:/models:ro" --entrypoint /usr/bin/weightctl "$image" "$@"
}

weightctl() { "${tool[@]}" exec "$name" /usr/bin/weightctl "$@"; }

start_daemon() {
  "${tool[@]}" run -d --name "$name" --user "$daemon_user" "${container[@]}" \
    -v "$name:/run/weightd" -v "$models:/models:ro" "$image" \
    --config /etc/weightd/weightd.textproto --cuda.enabled=OFF >/dev/null
  for _ in {1..100}; do
    ! weightctl health >/dev/null 2>&1 || return 0
    [[ $("${tool[@]}" inspect -f '{{.State.Running}}' "$name") == true ]] || die "weightd ended while it started"
    sleep 0.1
  done
  die "weightd is not healthy after 10 seconds"
}

mapfile -t tool < <(container_command)
((${#tool[@]} > 0)) || exit 1
mapfile -t limits < <(container_limits)
container=("${limits[@]}" --network=none --read-only --cap-drop=all --security-opt no-new-privileges)
[[ $seccomp == default ]] || container+=(--security-opt "seccomp=$weightd_root/deploy/seccomp/weightd.json")
# Else SELinux keeps the containers from the files, and from each other's sockets.
if selinuxenabled 2>/dev/null; then container+=(--security-opt label=disable); fi
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
scratch="$(mktemp -d "${TMPDIR:-/var/tmp}/weightd-pod.XXXXXX")"

step "image"
build_image

step "checkpoint"
if [[ -n $checkpoint ]]; then
  check_given "$checkpoint"
  checkpoint="$(realpath -s -- "$checkpoint")"
else
  make_checkpoint
fi
models="${checkpoint%/*}"
model="$(model_name "$checkpoint")"
file="$(first_file "$checkpoint")"
read -r tensor begin end < <(some_tensor "$file") || die "no tensor found in $file"
du -shD "$checkpoint" | awk '{ printf "%s  %s\n", $2, $1 }'

step "the sidecar: weightd, seccomp profile $seccomp"
started="$(now_us)"
start_daemon
start_us=$(($(now_us) - started))
weightctl status | grep -E '^(state|storage) '

step "weightctl stage $model --wait, in the sidecar"
started="$(now_us)"
weightctl stage "$model" --wait
stage_us=$(($(now_us) - started))

step "the client: attaches, and reads $tensor"
started="$(now_us)"
got="$(client read "$model" "$tensor" | sha256sum | cut -d ' ' -f 1)"
client_us=$(($(now_us) - started))
[[ $got == $(tensor_sha256 "$file" "$begin" "$end") ]] || die "$tensor differs from $file at $begin"
echo "$((end - begin)) bytes, as in ${file##*/} (sha256 ${got:0:12})"

step "stop: SIGTERM"
"${tool[@]}" stop -t 30 "$name" >/dev/null
status="$("${tool[@]}" inspect -f '{{.State.ExitCode}}' "$name")"
[[ $status == 0 ]] || die "weightd ended with $status"
echo "weightd ended with 0"

step "times"
echo "start   $(seconds "$start_us")  (a container, until weightd is healthy)"
echo "stage   $(seconds "$stage_us")"
echo "attach  $(seconds "$client_us")  (a container, attach, and $((end - begin)) bytes through its output)"
