# What the role decides by and facts do not tell: name=value lines. It changes nothing.
# files/account.sh comes before it. The words after those are the packages that the role wants.
LC_ALL=C
export LC_ALL

# The first boot of a cloud image is over when this file is there; until then it holds the package lock and makes accounts.
seconds=0
while [ -e /run/cloud-init/enabled ] && [ ! -e /run/cloud-init/result.json ] && [ $seconds -lt 600 ]; do
    sleep 1
    seconds=$((seconds + 1))
done
if [ $seconds -ge 600 ]; then
    echo "first_boot=busy"
fi

if command -v dpkg-query >/dev/null; then
    # dpkg-query fails for a package it never heard of; that one is missing, which is what is asked.
    packages=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | awk '$1 == "installed" {print $2}')
    lists=$(find /var/lib/apt/lists -name '*_Packages*' 2>/dev/null | head -n 1)
else
    packages=$(rpm -q --qf '%{NAME}\n' "$@" | grep -v ' ')
    lists=always
fi
echo "packages="$packages
echo "lists=$lists"

echo "timezone=$(readlink -f /etc/localtime | sed 's,^/usr/share/zoneinfo/,,')"
# As systemd decides when a unit says ConditionVirtualization=!container.
echo "container=$(systemd-detect-virt --container)"
echo "memory_mb=$(awk '/^MemTotal/ {print int($2 / 1024)}' /proc/meminfo)"
echo "swaps="$(awk 'NR > 1 {print $1}' /proc/swaps)

# One line for each unit that there is, the services that can keep the time first: chrony.service=enabled active
systemctl show --property=Id,LoadState,UnitFileState,ActiveState \
    chrony.service chronyd.service ntpsec.service ntp.service openntpd.service systemd-timesyncd.service \
    apt-daily.timer apt-daily-upgrade.timer dnf-automatic.timer |
    awk -F = '
        {value[$1] = $2}
        $0 == "" {print_unit()}
        END {print_unit()}
        function print_unit() {
            if (value["LoadState"] == "loaded") print value["Id"] "=" value["UnitFileState"], value["ActiveState"]
            delete value
        }'
exit 0
