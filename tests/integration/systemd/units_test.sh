#!/usr/bin/env bash
# deploy/systemd by systemd's own judges: systemd-analyze verify and security.
#
#   units_test.sh REPOSITORY BUILD
set -euo pipefail
repository="$1"
build="$2"
exposure_max=25 # of 100; it is 21

command -v systemd-analyze >/dev/null || { echo "skipped: systemd-analyze is not installed" && exit 77; }
work="$(mktemp -d)"
trap 'rm -rf -- "$work"' EXIT
cp "$repository"/deploy/systemd/weightd.{service,socket} "$work/"
# verify wants to find the program.
sed -i "s|^ExecStart=/usr/bin/weightd|ExecStart=$build/bin/weightd|" "$work/weightd.service"
said="$(SYSTEMD_UNIT_PATH="$work:" systemd-analyze verify --man=no --recursive-errors=no "$work/weightd.service" "$work/weightd.socket" 2>&1)" ||
  { echo "systemd-analyze verify: $said" && exit 1; }
if grep -E "weightd\.(service|socket)" <<<"$said"; then
  echo "systemd-analyze verify complains"
  exit 1
fi
systemd-analyze security --offline=yes --threshold="$exposure_max" "$work/weightd.service" | tail -n 1
