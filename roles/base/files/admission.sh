# What base wants to know before anything on the host changes: name=value lines. It changes nothing.
# files/account.sh comes before it, and leaves the name of the account in $account.
LC_ALL=C
export LC_ALL
if [ -r /etc/os-release ]; then
    . /etc/os-release
fi
echo "system=${ID-unknown}"
echo "version=${VERSION_ID-}"
echo "name=${PRETTY_NAME-unknown}"
echo "init=$(cat /proc/1/comm)"
echo "machine=$(uname -m)"
echo "login=$(id -un)"
if command -v python3 >/dev/null; then
    python3 -c 'import sys; print("python=%d.%d" % sys.version_info[:2])'
fi
echo "memory_mb=$(awk '/^MemTotal/ {print int($2 / 1024)}' /proc/meminfo)"
echo "disk_mb=$(df -Pk / | awk 'NR == 2 {print int($4 / 1024)}')"
if id "$account" >/dev/null 2>&1; then
    echo "known=yes"
fi
if ! command -v sudo >/dev/null; then
    echo "sudo=missing"
elif sudo -n true >/dev/null 2>&1; then
    echo "sudo=yes"
else
    echo "sudo=password"
fi
exit 0
