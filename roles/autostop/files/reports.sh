# reports.sh <unit>: wait until the server that this unit runs has reported.
for second in $(seq 60); do
  pid=$(systemctl show --property=MainPID --value "$1")
  [ -e "/run/autostop/reports/$pid.json" ] && exit 0
  sleep 1
done
journalctl --unit="$1" --lines=15 --no-pager --output=cat >&2
exit 1
