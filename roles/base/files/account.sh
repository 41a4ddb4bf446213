# What is known of the account that is to be the notebooks', before anything changes: name=value lines. It changes nothing.
# The first words after the program are the account, its home and the directory for data; they are taken away for what follows.
account=$1
echo "account=$(getent passwd "$account")"
echo "account_groups=$(id -Gn "$account" 2>/dev/null)"
echo "account_group=$(getent group "$account" | cut -d : -f 1)"
echo "uid_min=$(awk '$1 == "UID_MIN" {print $2}' /etc/login.defs)"
if [ "$(id -u)" = 0 ]; then
    echo "account_password=$(passwd -S "$account" 2>/dev/null | cut -d ' ' -f 2)"
fi
# Accounts with the same number, accounts that this role has made, and accounts that live in one of the two directories.
getent passwd | awk -F : -v name="$account" -v home="$2" -v data="$3" '
    function below(path, folder) {return path == folder || index(path "/", folder "/") == 1}
    {comment = $5; sub(/,.*/, "", comment)}
    comment == "Notebooks" {ours = ours " " $1}
    $1 == name {uid = $3}
    $1 != name {uids[$1] = $3; if (below($6, home)) homes = homes " " $1; if (below($6, data)) datas = datas " " $1}
    END {
        for (other in uids) if (uid != "" && uids[other] == uid) twins = twins " " other
        print "accounts_ours=" ours; print "account_twins=" twins; print "home_homes=" homes; print "data_homes=" datas
    }'
echo "home_owner=$(stat -L -c %U "$2" 2>/dev/null)"
echo "data_owner=$(stat -L -c %U "$3" 2>/dev/null)"
shift 3
