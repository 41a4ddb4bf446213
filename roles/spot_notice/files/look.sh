# look.sh <program>: none (there is no unit), off, runs, or old (what runs is older than what is there).
unit=spot-notice.service
files="$1 /etc/spot-notice/spot-notice.json /etc/systemd/system/$unit"
if [ ! -e "/etc/systemd/system/$unit" ]; then
  echo none
elif ! systemctl is-active --quiet "$unit" && ! systemctl is-enabled --quiet "$unit"; then
  echo off
elif ! systemctl is-active --quiet "$unit" || ! systemctl is-enabled --quiet "$unit"; then
  echo old
else
  started=$(systemctl show --property=ExecMainStartTimestamp --value --timestamp=us+utc "$unit")
  # shellcheck disable=SC2086
  if [ -n "$(find $files -newermt "$started")" ] || [ "$(systemctl show --property=NeedDaemonReload --value "$unit")" = yes ]; then
    echo old
  else
    echo runs
  fi
fi
