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
# Where pip puts the wheel; CMake looks there too. WEIGHTD_CUDA_WHEEL_DIR names another place.
cuda_wheel_dir="${WEIGHTD_CUDA_WHEEL_DIR:-$weightd_root/build/cuda}"
# Where a CUDA Toolkit has cuda.h.
cuda_toolkit_includes=("${CUDA_HOME:+$CUDA_HOME/include}" "${CUDA_PATH:+$CUDA_PATH/include}"
  /usr/local/cuda/include /usr/lib/cuda/include /usr/local/include /usr/include)

# get_cuda_wheel: NVIDIA's wheel from PyPI, by a pip of its own below $cuda_wheel_dir. Whole or not at all.
get_cuda_wheel() {
  local dir="$cuda_wheel_dir" new
  mkdir -p "$dir" && new="$(mktemp -d "$dir/.new.XXXXXX")" || return
  if python3 -m venv "$new/venv" &&
    "$new/venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps --no-input --timeout 20 --retries 2 \
      --target "$new/wheel" "$cuda_wheel" &&
    [[ -f $new/wheel/nvidia/cuda_runtime/include/cuda.h ]]; then
    rm -rf -- "$dir/nvidia" && mv -- "$new/wheel/nvidia" "$dir/nvidia"
  else
    rm -rf -- "$new"
    return 1
  fi
  rm -rf -- "$new"
}

# cuda_header: sets cuda_include to what CMake takes as WEIGHTD_CUDA_INCLUDE_DIR: the folder with cuda.h,
# the machine's where a CUDA Toolkit is, else that of NVIDIA's wheel, which it gets from PyPI; or OFF, a
# build for host memory only, where WEIGHTD_CUDA_INCLUDE_DIR=OFF asks for that. Where there is no cuda.h
# to be had it is OFF as well: then it says so on stderr and returns 1.
cuda_header() {
  local folder given="${WEIGHTD_CUDA_INCLUDE_DIR:-}"
  if [[ $given == OFF ]]; then
    cuda_include=OFF
    echo "WEIGHTD_CUDA_INCLUDE_DIR is OFF: this build uses host memory only, no GPU"
    return 0
  fi
  [[ -z $given || -f $given/cuda.h ]] || die "WEIGHTD_CUDA_INCLUDE_DIR: there is no $given/cuda.h"
  for folder in "$given" "${cuda_toolkit_includes[@]}"; do
    [[ -n $folder && -f $folder/cuda.h ]] || continue
    cuda_include="$(realpath -- "$folder")"
    return 0
  done
  cuda_include="$cuda_wheel_dir/nvidia/cuda_runtime/include"
  [[ ! -f $cuda_include/cuda.h ]] || return 0
  (install_packages image) || true # if they were needed, the next says so
  echo "no CUDA Toolkit here: its cuda.h comes from PyPI ($cuda_wheel)"
  quietly cuda get_cuda_wheel && return 0
  cuda_include=OFF
  cat >&2 <<END
WARNING: no cuda.h: no CUDA Toolkit is here, and PyPI did not give $cuda_wheel.
  What is built now keeps models in host memory only and USES NO GPU. To have it use GPUs, install a CUDA
  Toolkit (or name the folder of its cuda.h: WEIGHTD_CUDA_INCLUDE_DIR), or let pip reach PyPI or a mirror
  (PIP_INDEX_URL), and run this again. WEIGHTD_CUDA_INCLUDE_DIR=OFF says that no GPU is wanted.
END
  return 1
}

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
