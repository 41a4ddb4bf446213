#!/bin/sh
# A generator of systemd. Its own leaves the disks in fstab out where /sys is read-only, as in a container; an instance mounts them.
# There is no udev either, which would link the disk to its UUID: the disk itself is named, when it is there.
set -e
while read -r what where type options _; do
  case $what in
  UUID=*) device=$(blkid --uuid "${what#UUID=}") || device=/dev/disk/by-uuid/${what#UUID=} ;;
  /dev/*) device=$what ;;
  *) continue ;;
  esac
  unit=$(systemd-escape --path --suffix=mount "$where")
  {
    printf '[Unit]\nSourcePath=/etc/fstab\nBefore=local-fs.target\n'
    printf '[Mount]\nWhat=%s\nWhere=%s\nType=%s\nOptions=%s\n' "$device" "$where" "$type" "$options"
  } >"$1/$unit"
  mkdir -p "$1/local-fs.target.wants"
  ln -sf "../$unit" "$1/local-fs.target.wants/$unit"
done </etc/fstab
