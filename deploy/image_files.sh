#!/usr/bin/env bash
# Lays out the image's file system: the programs, the shared libraries that they name, and no more.
#
#   deploy/image_files.sh BIN_DIR DESTINATION
#
# BIN_DIR has weightd and weightctl (build/release/bin). DESTINATION is made, and must not be there:
# DESTINATION/root belongs to root in the image, DESTINATION/run (its /run) to the daemon's user. The
# container image is made of it, and the tests' containers where there is no container tool.
set -euo pipefail
export LC_ALL=C
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

(($# == 2)) || die "wants BIN_DIR and DESTINATION"
bin="$1"
[[ ! -e $2 ]] || die "$2 is there already"
destination="$2/root"
for program in weightd weightctl; do
  [[ -x $bin/$program ]] || die "$bin/$program is missing: build it first"
done

# put MODE FILE PATH_IN_IMAGE
put() { install -D -m "$1" "$2" "$destination$3"; }

# libraries PROGRAM...: paths of the shared libraries and of the loader.
libraries() {
  local listed
  listed="$(ldd "$@")"
  ! grep 'not found' <<<"$listed" >&2 || die "a shared library is missing (above)"
  awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// && $1 !~ /:$/ { print $1 }' <<<"$listed" | sort -u
}

# copyright_of PACKAGE...: the licences of what is in the image, as they ask for.
copyright_of() {
  local package file
  for package; do
    file="/usr/share/doc/$package/copyright"
    [[ ! -f $file ]] || put 644 "$(realpath "$file")" "$file"
  done
}

# As on a merged /usr, so that what a container runtime mounts below /usr/lib is found in /lib too.
mkdir -p "$destination/usr/lib" "$destination/usr/lib64"
ln -s usr/lib "$destination/lib"
ln -s usr/lib64 "$destination/lib64"

mapfile -t found < <(libraries "$bin/weightd" "$bin/weightctl")
# libcuda.so.1, which the container runtime brings, names those parts of libc too.
libc_dir="$(dirname "$(printf '%s\n' "${found[@]}" | grep '/libc\.so\.6$')")"
found+=("$libc_dir"/lib{dl.so.2,pthread.so.0,rt.so.1})
for library in "${found[@]}"; do
  put 755 "$(realpath "$library")" "/usr/${library#/usr/}"
done
for program in weightd weightctl; do
  mkdir -p "$destination/usr/bin"
  strip -o "$destination/usr/bin/$program" "$bin/$program"
  chmod 755 "$destination/usr/bin/$program"
done

# Owners of the shared libraries, and what is inside of the programs.
if command -v dpkg-query >/dev/null; then
  # shellcheck disable=SC2046  # one argument per package
  copyright_of $(realpath "${found[@]}" | sed 's|^/usr||; s|.*|*&|' | xargs -r dpkg-query -S 2>/dev/null |
    sed 's/:.*//' | sort -u) $(awk '$1 == "build" && $2 ~ /^lib/ { print $2 }' "$weightd_root/deploy/packages.txt")
fi

mkdir -p "$destination"/{dev,etc/weightd,models,proc,sys,tmp} "$2/run/weightd"
cat >"$destination/etc/passwd" <<'PASSWD'
root:x:0:0:root:/:/sbin/nologin
weightd:x:65532:65532:weightd:/:/sbin/nologin
PASSWD
cat >"$destination/etc/group" <<'GROUP'
root:x:0:
weightd:x:65532:
GROUP
cat >"$destination/etc/weightd/weightd.textproto" <<'CONFIG'
# What the image starts with: mount another file here, or give flags.
root: "/models"
state_file: "/run/weightd/state.json"  # pins, over a restart of the container
CONFIG
for release in /etc/os-release /etc/debian_version; do
  [[ ! -f $release ]] || put 644 "$(realpath "$release")" "$release"
done
chmod -R go=rX,u+w "$2"
chmod 1777 "$destination/tmp"
