#!/bin/sh
# Accounts get the numbers that their files on the disk have: another server may have given others.
# Arguments: name folder home shell, again and again. Prints what was changed.
set -e
while [ $# -ge 4 ]; do
  name=$1 folder=$2 home=$3 shell=$4
  shift 4
  [ -d "$folder" ] || continue
  user=$(stat -c %u "$folder") group=$(stat -c %g "$folder")
  # A folder of root's was not handed over yet.
  [ "$user" -ne 0 ] || continue
  if ! getent passwd "$name" >/dev/null; then
    free=''
    getent passwd "$user" >/dev/null || free="--uid $user"
    if ! getent group "$name" >/dev/null; then
      if getent group "$group" >/dev/null; then groupadd --system "$name"; else groupadd --system --gid "$group" "$name"; fi
    fi
    useradd --system $free --gid "$name" --home-dir "$home" --no-create-home --shell "$shell" "$name"
    echo "made the account $name"
  fi
  if [ "$(id -u "$name"):$(id -g "$name")" != "$user:$group" ]; then
    # The folder itself last: a run that is cut off is continued.
    find "$folder" -depth \( -uid "$user" -exec chown --no-dereference "$name" {} + \) , \( -gid "$group" -exec chgrp --no-dereference "$name" {} + \)
    echo "gave $folder to $name"
  fi
done
