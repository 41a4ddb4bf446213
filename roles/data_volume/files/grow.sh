#!/bin/sh
# Grow an ext4 file system that the kernel does not grow in use: stop what needs it, and start that again whatever happens.
path=$1 device=$2
set -e
unit=$(systemd-escape --path --suffix=mount "$path")
running=''
# Units that need the mount are stopped with it; the unit after them (postgresql.service) is started by its own.
for one in $(systemctl show --property=RequiredBy,BoundBy --value "$unit"); do
  if systemctl is-active --quiet "$one"; then
    running="$running $one"
  fi
done
again() {
  code=$?
  systemctl start "$unit"
  [ -z "$running" ] || systemctl start $running
  exit $code
}
trap again EXIT
systemctl stop "$unit"
# 1 is "corrected something", which is well.
e2fsck -f -p "$device" || [ $? -eq 1 ]
resize2fs "$device"
