# look.sh <unit of JupyterLab, or nothing> <path>...: what is there, a line each.
jupyter=$1
shift

# On some systems python3 is newer than what Ansible itself runs on; this is the one in the program's first line.
/usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null ||
  echo "problem /usr/bin/python3 is missing or older than 3.9; install the system's python3 there."
command -v ss >/dev/null || echo "problem There is no ss to ask about SSH connections; install iproute2 (iproute on Amazon Linux)."

for path in "$@"; do
  if [ -d "$path" ]; then
    echo "found $(stat -c '%a %U' "$path") directory $path"
  elif [ -f "$path" ]; then
    echo "found $(stat -c '%a %U' "$path") $(sha256sum "$path")"
  fi
done

# since <unit> <property>: the files after it that are newer than what runs.
newer() {
  started=$(systemctl show --property="$2" --value --timestamp=us+utc "$1")
  shift 2
  find "$@" -newermt "$started" 2>/dev/null
}

for unit in autostop.timer autostop-ask.socket; do
  file=/etc/systemd/system/$unit
  [ -e "$file" ] || continue
  echo "installed $unit"
  if systemctl is-active --quiet "$unit"; then
    echo "running $unit"
    systemctl is-enabled --quiet "$unit" && [ -z "$(newer "$unit" ActiveEnterTimestamp "$file")" ] || echo "restart $unit"
  else
    systemctl is-enabled --quiet "$unit" && echo "running $unit"
    echo "restart $unit"
  fi
done
for unit in autostop.service autostop-stop.service; do
  [ "$(systemctl show --property=NeedDaemonReload --value "$unit")" = no ] || echo "restart $unit"
done

# A server of notebooks that started before what it shall load; whether it has children, which are kernels and terminals.
if [ -n "$jupyter" ] && systemctl is-active --quiet "$jupyter"; then
  if [ -n "$(newer "$jupyter" ExecMainStartTimestamp /usr/local/lib/autostop/jupyter "/etc/systemd/system/$jupyter.d/autostop.conf" -type f)" ]; then
    pid=$(systemctl show --property=MainPID --value "$jupyter")
    if [ -n "$(cat "/proc/$pid/task/"*/children)" ]; then echo "jupyter works"; else echo "jupyter waits"; fi
  fi
fi
exit 0
