#!/usr/bin/env bash
# shellcheck disable=SC2089,SC2090,SC2317  # a unit is text; traps and checks call functions
# Boots a real systemd in namespaces of its own, as root, and runs a program under it.
#
#   boot.sh PROGRAM [ARGUMENT]...
#
# The program sees this machine's files through an overlay whose changes are in memory and gone
# afterwards, a /run, /tmp and /var/tmp with nothing but the files that its command line names, no
# network, and a systemd that has started nothing else. What it writes is what this script writes, and likewise its exit status; 77 when this machine
# cannot do it, with why.
set -euo pipefail

skip() {
  echo "skipped: $*" >&2
  exit 77
}

# In the new namespaces, as process 1: makes the root and becomes systemd.
become_systemd() {
  local work="$1" device named
  shift
  mount --make-rprivate /
  mount -t tmpfs tmpfs "$work"
  mkdir "$work/upper" "$work/work" "$work/root"
  mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" "$work/root"
  cd "$work/root"
  mount -t proc proc proc
  mount -t sysfs -o ro sysfs sys
  mount -t tmpfs tmpfs sys/fs/cgroup
  if [[ -d /sys/fs/cgroup/systemd ]]; then # cgroup v1
    mkdir sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
  else
    umount sys/fs/cgroup
    mount -t cgroup2 cgroup2 sys/fs/cgroup
  fi
  mount -t tmpfs tmpfs dev
  for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
  done
  ln -s /proc/self/fd dev/fd
  mkdir dev/shm
  touch dev/console
  mount --bind "$(tty)" dev/console
  for device in dev/shm tmp var/tmp; do mount -t tmpfs tmpfs "$device"; done
  mount -t tmpfs -o mode=0755 tmpfs run  # as systemd does
  # Folders before what is in them.
  printf '%s\n' "$@" | sort | while read -r named; do
    [[ $named == /* && -e $named && ! -e .$named ]] || continue
    if [[ -d $named ]]; then mkdir -p ".$named"; else install -D /dev/null ".$named"; fi
    mount --bind "$named" ".$named"
  done
  # What a boot does besides is no matter of ours: no mounts, modules, sysctls or temporary files.
  mkdir -p etc/systemd/system
  printf '[Unit]\nDefaultDependencies=no\n' | tee etc/systemd/system/{sysinit,local-fs,remote-fs,basic}.target >/dev/null
  rm -f etc/systemd/system/multi-user.target.wants/* etc/systemd/system/sockets.target.wants/*
  printf "%s" "$WEIGHTD_BOOT_UNIT" >etc/systemd/system/weightd-boot.service
  mkdir oldroot
  # What the program writes goes to files of the caller's, which stay reachable.
  touch output status
  mount --bind "$WEIGHTD_BOOT_RESULT/output" output
  mount --bind "$WEIGHTD_BOOT_RESULT/status" status
  pivot_root . oldroot
  umount -l /oldroot
  unset WEIGHTD_BOOT_UNIT WEIGHTD_BOOT_RESULT
  export container=weightd PATH=/usr/sbin:/usr/bin:/sbin:/bin
  exec /lib/systemd/systemd --system --unit=weightd-boot.service --log-target=console --log-level=warning --show-status=0
}

if [[ ${WEIGHTD_BOOT_STEP:-} == inside ]]; then
  unset WEIGHTD_BOOT_STEP
  become_systemd "$@"
fi

(($# > 0)) || { sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit 2; }
((EUID == 0)) || skip "a systemd of our own needs root"
[[ -x /lib/systemd/systemd ]] || skip "systemd is not installed"
command -v script >/dev/null || skip "script (bsdutils) is not installed"
unshare --mount --pid --fork --cgroup true 2>/dev/null || skip "namespaces cannot be made here"

work="$(mktemp -d)"
cgroup=""
clean_up() {
  [[ -z $cgroup ]] || rmdir "$cgroup" 2>/dev/null || true
  rm -rf -- "$work"
}
trap clean_up EXIT
mkdir "$work/mount"
: >"$work/output"
: >"$work/status"

printf -v command '%q ' "$@"
WEIGHTD_BOOT_UNIT="[Unit]
Description=what boot.sh was asked to run
DefaultDependencies=no
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=oneshot
StandardOutput=file:/output
StandardError=inherit
ExecStart=/bin/bash -c '${command//\'/\'\\\'\'}; echo \$\$? >/status'
"
export WEIGHTD_BOOT_UNIT WEIGHTD_BOOT_RESULT="$work" WEIGHTD_BOOT_STEP=inside

# With cgroup v1 the namespace starts at a group of its own, or systemd would move everybody.
if [[ -d /sys/fs/cgroup/systemd ]]; then
  cgroup="/sys/fs/cgroup/systemd/weightd-boot.$$"
  mkdir "$cgroup" 2>/dev/null || skip "no cgroup can be made"
fi
(
  [[ -z $cgroup ]] || echo "$BASHPID" >"$cgroup/cgroup.procs"
  # A terminal of its own is systemd's console.
  exec timeout --signal=KILL "${WEIGHTD_BOOT_SECONDS:-60}" script -qefc \
    "unshare --mount --pid --fork --uts --ipc --cgroup --net --kill-child=KILL $(printf %q "$(realpath "${BASH_SOURCE[0]}")") $(printf '%q ' "$work/mount" "$@")" \
    "$work/console" </dev/null >/dev/null 2>&1
) || true

cat "$work/output"
if [[ ! -s $work/status ]]; then
  echo "systemd did not come to the end; its console:" >&2
  tail -n 40 "$work/console" >&2
  exit 1
fi
exit "$(<"$work/status")"
