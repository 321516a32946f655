#!/usr/bin/env bash
# Makes a base image of Debian 12 for the Containerfile's build stage, where none can be pulled.
#
#   deploy/debian_base.sh [TAG]          # localhost/debian:bookworm
#   podman build --build-arg BASE=localhost/debian:bookworm -t weightd -f deploy/Containerfile .
#
# As root, with debootstrap and podman or docker (WEIGHTD_CONTAINER_TOOL). Package sources, pip's
# settings and certificates are this machine's, so that a mirror that serves here serves there.
set -euo pipefail
export LC_ALL=C
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case "${1:-}" in
  -h | --help) sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit 0 ;;
esac
tag="${1:-localhost/debian:bookworm}"
tool="$(container_tool)"
command -v debootstrap >/dev/null || die "debootstrap is missing: apt-get install debootstrap"
((EUID == 0)) || die "debootstrap needs root"

scratch="$(mktemp -d /var/tmp/weightd-debian-base.XXXXXX)"
trap 'rm -rf --one-file-system -- "$scratch"' EXIT
need_space "$scratch" 1024

# The mirror of this machine's own packages, if it is a Debian 12.
mirror="$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | head -n 1)" || true
debootstrap --variant=minbase --include=ca-certificates bookworm "$scratch/root" ${mirror:+$mirror} >"$scratch/log" 2>&1 ||
  { tail -n 20 "$scratch/log" >&2 && die "debootstrap failed (its last lines are above)"; }
if grep -qs '^VERSION_CODENAME=bookworm' /etc/os-release; then
  rm -rf "$scratch/root/etc/apt/sources.list"
  cp -aL /etc/apt/sources.list* "$scratch/root/etc/apt/"
fi
for file in /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
  [[ ! -f $file ]] || cp -L "$file" "$scratch/root$file"
done
rm -rf "$scratch"/root/var/{cache/apt,lib/apt/lists,log}/*
tar -C "$scratch/root" --numeric-owner -c . | "$tool" import - "$tag" >/dev/null
echo "$tag"
