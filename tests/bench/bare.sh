#!/bin/sh
# What a person would type who wants docker, MariaDB and PostgreSQL with one database and one account each, as the roles
# leave them: the same packages, settings files, accounts and timers, in the same order, one package transaction each.
# It asks for nothing and checks nothing: it is for a new Debian host, once.
# The settings files (files.txt) lie in /root/settings, copied there before.
set -eu
export DEBIAN_FRONTEND=noninteractive
cd /root/settings

put() {
  for file; do
    mkdir -p "/$(dirname "$file")"
    cp --preserve=mode "$file" "/$file"
  done
}

apt-get update -qq

# Docker. Settings come before the package that reads them, so that the server starts once.
put etc/docker/daemon.json
client=docker-cli
[ -n "$(apt-cache search --names-only '^docker-cli$')" ] || client=''
apt-get install -qq --no-install-recommends docker.io $client apparmor ca-certificates

# MariaDB. What mysql_secure_installation does is what the package does today.
put etc/mysql/mariadb.conf.d/* etc/systemd/system/notebook-mysql-* usr/local/sbin/notebook-mysql-*
apt-get install -qq --no-install-recommends mariadb-server gzip
mkdir /etc/mysql/notebook
mkdir /srv/backups
mkdir -m 0700 /srv/backups/mysql
mariadb <<'SQL'
CREATE DATABASE notebooks CHARACTER SET utf8mb4;
CREATE USER jupyter@localhost IDENTIFIED VIA unix_socket;
GRANT ALL ON notebooks.* TO jupyter@localhost;
SQL
systemctl daemon-reload
systemctl enable --now notebook-mysql-dump.timer

# PostgreSQL.
put etc/postgresql-common/createcluster.d/* etc/systemd/system/notebook-postgres-* \
  etc/systemd/system/postgresql@.service.d/* usr/local/sbin/notebook-postgres-*
version=$(basename etc/postgresql/*)
apt-get install -qq --no-install-recommends "postgresql-$version" logrotate
mkdir -m 0700 /srv/backups/postgres
LC_ALL=C.UTF-8 pg_createcluster --port=5432 "$version" main
cp etc/postgresql/"$version"/main/conf.d/zz-notebook.conf "/etc/postgresql/$version/main/conf.d/"
cp etc/postgresql/"$version"/main/pg_hba.conf "/etc/postgresql/$version/main/"
chown -R postgres: "/etc/postgresql/$version/main/conf.d"
systemctl daemon-reload
systemctl start "postgresql@$version-main"
cd /
runuser -u postgres -- psql --quiet --set=ON_ERROR_STOP=1 <<'SQL'
CREATE ROLE jupyter LOGIN;
CREATE DATABASE notebooks OWNER jupyter;
REVOKE ALL ON DATABASE notebooks FROM PUBLIC;
SQL
systemctl enable --now notebook-postgres-dump.timer
