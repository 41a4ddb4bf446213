#!/bin/sh
# let_go.sh PATH: stop what uses the disk that is mounted there, note it for take_up.sh, and unmount the disk.
# When that cannot be, such as when somebody else holds it, everything is started again.
set -eu
path=$1
notes=/var/lib/notebook-restore
unit=$(systemd-escape --path --suffix=mount "$path")
mkdir -p "$notes"

# The notes of a run that was cut off are as good: what it stopped does not run now.
if [ ! -e "$notes/running" ]; then
  {
    # shellcheck disable=SC2046  # a list of words
    systemctl show --property=Id,RequiresMountsFor $(systemctl list-units --type=service --state=active --no-legend --plain | cut -d ' ' -f 1) |
      awk -v path="$path" -v RS='' '{
        split($0, line, "\n")
        for (i in line) if (sub(/^Id=/, "", line[i])) id = line[i]
        for (i in line) if (sub(/^RequiresMountsFor=/, "", line[i])) {
          count = split(line[i], place, " ")
          for (j = 1; j <= count; j++) if (index(place[j] "/", path "/") == 1) { print id; break }
        }
      }'
    # Containers have the disk in a world of their own, which an unmount here does not reach.
    if command -v docker >/dev/null && systemctl is-active --quiet docker; then
      for name in $(docker ps --format '{{.Names}}'); do
        docker inspect --format '{{range .Mounts}}{{println .Source}}{{end}}' "$name" | grep -qE "^$path(/|$)" || continue
        grep -lsE "^ExecStart=.*docker start --attach $name\$" /etc/systemd/system/*.service | xargs -r -n 1 basename
      done
    fi
  } | sort -u >"$notes/.part"
  mv "$notes/.part" "$notes/running"
fi

again() {
  code=$?
  [ "$code" != 0 ] || exit 0
  mountpoint -q "$path" || systemctl start "$unit"
  xargs -r systemctl start <"$notes/running"
  rm -f "$notes/running"
  exit "$code"
}
trap again EXIT

# Services with a mount namespace of their own may have a copy of the mount that an unmount does not reach.
copies() {
  for process in /proc/[0-9]*; do
    if awk -v path="$path" '$5 == path { found = 1 } END { exit !found }' "$process/mountinfo" 2>/dev/null; then
      # One that is busy is found below.
      if ! nsenter --target "${process#/proc/}" --mount umount "$path" 2>/dev/null; then continue; fi
    fi
  done
}

# Programs that still have something open there, or the disk itself, also in a mount namespace of their own.
holders() {
  for process in /proc/[0-9]*; do
    # shellcheck disable=SC2010  # links, read as they are
    if ls -l "$process/cwd" "$process/root" "$process/fd" 2>/dev/null | grep -qE -- "-> $path(/|\$)" ||
      awk -v path="$path" -v disk="$disk" '$5 == path || $3 == disk { found = 1 } END { exit !found }' "$process/mountinfo" 2>/dev/null; then
      echo "$(cat "$process/comm" 2>/dev/null) (process ${process#/proc/})"
    fi
  done | head -n 5 | paste -sd ',' | sed 's/,/, /g'
}

xargs -r systemctl stop <"$notes/running"
sync
left='' disk=none
! mountpoint -q "$path" || disk=$(mountpoint -d "$path")
if mountpoint -q "$path" && ! systemctl stop "$unit"; then
  left=$(holders)
  left=${left:-something that does not show}
fi
[ -n "$left" ] || copies
left=${left:-$(holders)}
if [ -n "$left" ]; then
  echo "$path is in use by $left: end that, then run the same command again. Nothing was changed." >&2
  exit 1
fi
