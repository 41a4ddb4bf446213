#!/bin/sh
# take_up.sh PATH: start what let_go.sh stopped, and see that it keeps running.
set -eu
path=$1
notes=/var/lib/notebook-restore
if ! mountpoint -q "$path"; then
  echo "$path is not mounted" >&2
  exit 1
fi
[ -s "$notes/running" ] || exit 0
xargs systemctl start <"$notes/running"
sleep 3
while read -r one; do
  if ! systemctl is-active --quiet "$one"; then
    echo "$one does not run: $(journalctl --no-pager --lines=1 --output=cat --unit="$one")" >&2
    exit 1
  fi
done <"$notes/running"
rm -f "$notes/running"
