# What a host has after docker, mysql and postgres, line by line, to be compared with another. Comments in files do not count.
dpkg-query --show --showformat='package ${Package} ${db:Status-Status}\n'
# Numbers are given in the order of installation.
getent passwd | sed -E 's/:x:[0-9]+:[0-9]+:/ /; s/^/account /'
getent group | sed -E 's/:x:[0-9]+:/ /; s/^/group /'
# Kept out: keys and caches that are made anew on every host.
find /etc /usr/local /srv /root /var/lib/systemd/linger -xdev -type f ! -path '/etc/ssh/*' ! -path '/etc/ssl/*' ! -path '/root/settings/*' \
  ! -path '/root/.ansible*' ! -path '/root/.cache*' ! -name machine-id ! -name key.json ! -name ld.so.cache ! -name '*-' ! -name 'shadow' ! -name gshadow \
  ! -name passwd ! -name group ! -name .pwd.lock ! -name .updated ! -name resolv.conf ! -name hosts |
  while read -r file; do
    echo "file $file $(stat -c '%a %U:%G' "$file") $(grep -v -e '^ *[#;]' -e '^$' "$file" | sha256sum | cut -c 1-12)"
  done
find /srv /etc/docker /etc/mysql /etc/postgresql /var/lib/mysql /var/lib/postgresql -maxdepth 2 -type d \
  -printf 'directory %p %m %u:%g\n' 2>/dev/null
for unit in $(systemctl list-unit-files --no-legend --state=enabled | awk '{print $1}'); do echo "enabled $unit"; done
for unit in $(systemctl list-units --no-legend --state=active --type=service,timer,socket --plain | awk '{print $1}'); do
  case $unit in session* | user* | cloud-* | systemd-*) ;; *) echo "active $unit" ;; esac
done
mariadb --batch --skip-column-names -e "select concat_ws(' ', 'mysql account', user, host, plugin) from mysql.user;
  select concat('mysql database ', schema_name) from information_schema.schemata; show grants for jupyter@localhost" 2>&1 | sed 's/^GRANT/mysql &/'
cd /
runuser -u postgres -- psql --no-psqlrc --tuples-only --no-align -c "select 'postgres role', rolname, rolsuper, rolcanlogin from pg_roles
  where rolname !~ '^pg_'" -c "select 'postgres database', datname, datdba::regrole, datacl from pg_database" 2>&1
echo "docker $(docker info --format '{{.LoggingDriver}} {{.LiveRestoreEnabled}} {{.Driver}}' 2>&1)"
