#!/usr/bin/env bash
# What the build of deploy/Containerfile gets to see of the tree: what .containerignore names, and by
# .dockerignore the same.
#
#   image_context_test.sh REPOSITORY
set -euo pipefail
export LC_ALL=C
repository="$1"

/usr/bin/python3 "$(dirname "${BASH_SOURCE[0]}")/podman_pod.py" "$repository"
# shellcheck source=deploy/lib.sh
. "$repository/deploy/lib.sh"
mapfile -t podman < <(WEIGHTD_CONTAINER_TOOL=podman container_command)
work="$(mktemp -d)"
trap 'rm -rf -- "$work"' EXIT

tree="$work/tree"
mkdir "$tree"
tar -C "$repository" --exclude=./build --exclude=./.git -c . | tar -C "$tree" -x
# What lies about in a developer's tree, or is a secret.
mkdir -p "$tree"/{build/release/bin,.git/objects,deploy/own}
touch "$tree"/{build/release/bin/weightd,.git/objects/1,deploy/own/password,notes.txt}

# files FOLDER PATH...: those below the paths.
files() {
  (cd "$1" && find "${@:2}" ! -type d | sed 's|^\./||' | sort)
}

mapfile -t wanted < <(sed -n 's/^!//p' "$tree/.containerignore")
((${#wanted[@]} > 5))
files "$tree" "${wanted[@]}" >"$work/wanted"
for path in build .git deploy/own notes.txt tests client/python README.md; do
  ! grep "^$path\(/\|$\)" "$work/wanted" || { echo "$path is let into the build (above)" && exit 1; }
done
printf 'FROM scratch\nCOPY . /\n' >"$work/Containerfile"

# compare NAME: what a build sees that has the file of this name.
compare() {
  local id
  id="$("${podman[@]}" build -q --layers=false -f "$work/Containerfile" --output "$work/$1" "$tree")"
  "${podman[@]}" rmi -f "$id" >/dev/null # it is made beside the output
  files "$work/$1" . >"$work/seen"
  diff "$work/wanted" "$work/seen" || { echo "$1: the build sees other files (above, >) than it names (<)" && exit 1; }
}

cmp "$tree/.containerignore" "$tree/.dockerignore"
compare containerignore
rm "$tree/.dockerignore"
mv "$tree/.containerignore" "$tree/.dockerignore"
compare dockerignore
