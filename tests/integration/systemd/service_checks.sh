#!/usr/bin/env bash
# shellcheck disable=SC2016,SC2317  # functions are called through check; a child expands
# What deploy/systemd promises, under a real systemd; boot.sh runs it.
#
#   service_checks.sh REPOSITORY BUILD
#
# Installs the units as deploy/systemd/README.md says, and goes through a service's life. Exits with
# the number of checks that failed.
set -uo pipefail
export LC_ALL=C.UTF-8
repository="$1"
build="$2"
failures=0

check() { # check WHAT COMMAND...
  local what="$1" text
  shift
  if text="$("$@" 2>&1)"; then
    echo "ok      $what"
  else
    echo "FAILED  $what: $*: ${text:0:600}"
    failures=$((failures + 1))
  fi
}
# until_true COMMAND...: whether it succeeds within 20 seconds.
until_true() {
  local deadline=$((SECONDS + 20))
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || return 1
    sleep 0.05 # tidy: nothing tells of another service's state but asking
  done
}
property() { systemctl show weightd.service -p "$1" --value; }
property_is() { [[ $(property "$1") == "$2" ]]; }
property_has() { [[ $(property "$1") == *"$2"* ]]; }
engine_is() { weightctl -o json status | grep -q "\"engine\": \"$1\""; }
resident() { weightctl ps | grep -q "^$1 "; }
main_pid_is_not() { [[ $(property MainPID) != 0 && $(property MainPID) != "$1" ]] && property_is ActiveState active; }
as_user() { runuser -u "$1" -- env WEIGHTD_SOCKET_DIR=/run/weightd "${@:2}"; }
fails() { ! "$@"; }
owner_and_mode_are() { [[ $(stat -c '%U:%G %a' "$1") == "$2" ]]; }

install -m 755 "$build/bin/weightd" "$build/bin/weightctl" /usr/bin/
install -m 644 "$repository"/deploy/systemd/weightd.{service,socket} /etc/systemd/system/
install -D -m 644 "$repository/deploy/systemd/sysusers.conf" /usr/lib/sysusers.d/weightd.conf
systemd-sysusers
useradd --system --groups weightd engine
mkdir -p /etc/weightd /models /etc/systemd/system/weightd.service.d
"$build/bin/weightd_make_checkpoint" --layout sharded --shards 2 --size 8MiB /models/demo >/dev/null
"$build/bin/weightd_make_checkpoint" --layout sharded --shards 1 --size 4MiB /models/more >/dev/null
chmod -R a+rX /models
configure() { printf 'root: "/models"\nhost { budget_bytes: 100000000 }\n%s\n' "$1" >/etc/weightd/weightd.textproto; }
configure ''
# The journal is not started here: the daemon's lines go to a file.
printf '[Service]\nStandardOutput=append:/output.weightd\nStandardError=inherit\n' >/etc/systemd/system/weightd.service.d/log.conf
systemctl daemon-reload

check "the sockets' unit starts without the daemon" systemctl start weightd.socket
check "gRPC's socket is the group's" owner_and_mode_are /run/weightd/weightd.sock "weightd:weightd 660"
check "the handle socket is the group's" owner_and_mode_are /run/weightd/handles.sock "weightd:weightd 660"
check "the directory lets the group through" owner_and_mode_are /run/weightd "weightd:weightd 750"
check "the daemon is not there yet" property_is ActiveState inactive
check "a member's connection starts it, and is answered" as_user engine weightctl ls
check "and a stranger's does not come through" fails as_user nobody weightctl ls
check "READY=1 made it active" property_is ActiveState active
check "the status line is the daemon's" property_has StatusText "serving: "
check "it runs as its own account" test "$(ps -o user= -p "$(property MainPID)")" = weightd
check "it has no capability" grep -qE '^CapEff:\s*0+$' "/proc/$(property MainPID)/status"
check "the socket directory is closed to others" owner_and_mode_are /run/weightd "weightd:weightd 750"
if grep -q '^Seccomp:[[:space:]]*0' /proc/1/status; then # not where the tests run without io_uring
  check "the unit's system call filter lets io_uring through" engine_is io_uring
else
  check "without io_uring it goes on with threads" engine_is pread
fi
check "it stages" weightctl stage demo --wait
check "a client attaches and reads" bash -c 'weightctl read demo "$(weightctl tensors demo | awk "NR == 2 { print \$1 }")" | wc -c'
check "a pin is taken" weightctl pin demo

configure 'preload: "more" staging { bytes_per_second_max: 1000000000 }'
check "systemctl reload" systemctl reload weightd.service
check "reload staged what it names" until_true resident more
configure 'preload: "more" cuda { enabled: OFF }'
check "systemctl reload with what may not change" systemctl reload weightd.service
check "the status says what was refused" until_true property_has StatusText "reload refused: nothing was changed: cuda.enabled"
check "it still serves" weightctl health
configure ''

pid="$(property MainPID)"
kill -KILL "$pid"
check "a client that comes in between waits, and is answered by the next daemon" weightctl ls
check "another daemon is there" main_pid_is_not "$pid"
check "the pin survived, and is staged again" until_true resident demo

printf '[Service]\nWatchdogSec=1\n' >/etc/systemd/system/weightd.service.d/watchdog.conf
systemctl daemon-reload
systemctl restart weightd.service
check "the watchdog is fed" property_has StatusText "serving: "
pid="$(property MainPID)"
restarts="$(property NRestarts)"
kill -STOP "$pid"
check "a daemon that hangs is replaced" until_true main_pid_is_not "$pid"
check "by the watchdog" test "$(property NRestarts)" -gt "$restarts"
check "and the next one answers" weightctl health

systemctl stop weightd.service
printf 'no_such_setting: 1\n' >/etc/weightd/weightd.textproto
check "a wrong configuration does not start" fails systemctl start weightd.service
check "and is not tried again" until_true property_is SubState failed
check "not once" property_is NRestarts 0
check "it says why" grep -q 'has no field named "no_such_setting"' /output.weightd
configure ''
check "a right one does" systemctl start weightd.service

check "stop, sockets and all" systemctl stop weightd.socket weightd.service
check "it ended cleanly" property_is Result success
check "the sockets are gone" test ! -e /run/weightd/weightd.sock
check "and the state stayed" test -s /var/lib/weightd/state.json
((failures == 0)) || tail -n 30 /output.weightd

exit "$failures"
