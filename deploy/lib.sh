# Shared by the scripts that a newcomer runs; source it.
# shellcheck shell=bash

weightd_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# die TEXT: ends the script with a message on stderr.
die() {
  echo "${0##*/}: $*" >&2
  exit 1
}

# missing_packages PURPOSE...: packages of these purposes (packages.txt) that dpkg does not have.
missing_packages() {
  local wanted installed
  wanted="$(for purpose in "$@"; do
    awk -v purpose="$purpose" '$1 == purpose { print $2 }' "$weightd_root/deploy/packages.txt"
  done | sort -u)"
  # shellcheck disable=SC2086  # one argument per package
  installed="$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null |
    awk '$1 == "installed" { print $2 }' | sort -u)" || true
  comm -23 <(echo "$wanted") <(echo "$installed")
}

# install_packages PURPOSE...: installs what is missing, as root or through sudo. Needs no network
# and no rights when nothing is.
install_packages() {
  local missing as_root=()
  command -v dpkg-query >/dev/null || die "this needs Debian 12: dpkg is not here"
  mapfile -t missing < <(missing_packages "$@")
  ((${#missing[@]} > 0)) || return 0
  echo "installing ${#missing[@]} Debian packages: ${missing[*]}"
  if ((EUID != 0)); then
    command -v sudo >/dev/null ||
      die "these packages are missing and there is no sudo; run as root: apt-get install ${missing[*]}"
    sudo -v || die "sudo is refused; run as root: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)
  local log
  log="$(mktemp)"
  "${apt[@]}" update >"$log" 2>&1 || echo "apt-get update reported an error; going on with the lists that are there"
  if ! "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    die "apt-get install failed (its last lines are above)"
  fi
  rm -f "$log"
}

# quietly LOG COMMAND...: runs it with its output in build/logs/LOG.log, and shows the end of that
# when it fails.
quietly() {
  local log="$weightd_root/build/logs/$1.log" status=0
  shift
  mkdir -p "${log%/*}" || die "cannot write below $weightd_root/build"
  "$@" >"$log" 2>&1 || status=$?
  if ((status != 0)); then
    grep -E -A 12 'error:|FAILED:|CMake Error' "$log" | head -n 60 >&2 || tail -n 40 "$log" >&2
    echo "failed: $* (all of its output: $log)" >&2
  fi
  return "$status"
}

# build_jobs: compilers at once: one per core, as far as memory goes (1.5 GiB for each).
build_jobs() {
  awk -v cores="$(nproc)" '$1 == "MemAvailable:" {
    jobs = int($2 / 1572864); if (jobs > cores) jobs = cores; print (jobs < 1 ? 1 : jobs) }' /proc/meminfo
}
export CMAKE_BUILD_PARALLEL_LEVEL="${CMAKE_BUILD_PARALLEL_LEVEL:-$(build_jobs)}"

# The cache serves every clone of this repository: paths count from the build folder.
export CCACHE_BASEDIR="${CCACHE_BASEDIR:-$weightd_root}" CCACHE_NOHASHDIR="${CCACHE_NOHASHDIR:-1}"

# configure PRESET ARGUMENT...
configure() {
  (cd "$weightd_root" && quietly "configure-$1" cmake --preset "$1" "${@:2}")
}

# build PRESET TARGET...: without a target, all. On a terminal ninja's progress line is shown.
build() {
  local preset="$1" targets=()
  shift
  (($# == 0)) || targets=(--target "$@")
  (
    cd "$weightd_root" || return
    if [[ -t 1 ]]; then
      cmake --build --preset "$preset" "${targets[@]}"
    else
      quietly "build-$preset" cmake --build --preset "$preset" "${targets[@]}"
    fi
  )
}

# need_space DIR MIB: ends the script when the file system of DIR has less left.
need_space() {
  local left
  left="$(df --output=avail -BM "$1" | tail -n 1 | tr -dc 0-9)"
  ((left >= $2)) || die "$1 has $left MiB left, this needs $2 MiB"
}

# pip's name for NVIDIA's wheel with cuda.h, which Debian does not have.
cuda_wheel=nvidia-cuda-runtime-cu12==12.9.79
# Where it puts the header, below pip's --target.
cuda_wheel_include=nvidia/cuda_runtime/include
export cuda_wheel cuda_wheel_include

# container_tool: podman, or docker, whichever is here; WEIGHTD_CONTAINER_TOOL names another.
container_tool() {
  local tool="${WEIGHTD_CONTAINER_TOOL:-}"
  [[ -n $tool ]] || tool="$(command -v podman || command -v docker)" || die "neither podman nor docker is here: apt-get install podman runc"
  command -v "$tool" >/dev/null || die "$tool (WEIGHTD_CONTAINER_TOOL) is not here"
  echo "$tool"
}

# container_command: the tool with the options that it needs here, one a line. podman's usual runtime
# (crun) does not work with control groups of both versions at once.
container_command() {
  local tool runtime
  tool="$(container_tool)" || return
  echo "$tool"
  if [[ $tool == *podman && ! -e /sys/fs/cgroup/cgroup.controllers ]] && runtime="$(command -v runc)"; then
    printf '%s\n' --runtime "$runtime"
  fi
}

# container_limits: options of `run` and `build`, one a line. As root, podman raises the limits of a
# container, which a root without CAP_SYS_RESOURCE (bit 24) may not.
container_limits() {
  local capabilities
  capabilities="$(awk '$1 == "CapEff:" { print $2 }' /proc/self/status)"
  if ((EUID == 0 && !(16#$capabilities >> 24 & 1))); then
    printf '%s\n' --ulimit nofile=1024:4096 --ulimit nproc=1024:1024
  fi
}
