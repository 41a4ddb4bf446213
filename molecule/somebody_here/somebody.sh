#!/bin/bash
# What people and programs had on this host before: somebody.sh plant | count
# plant: a strict umask, people with sudo and homes, a shop in MariaDB and one in PostgreSQL with programs that use them by TCP.
# count: a line for each thing of theirs, and for each way in which they use it; to be compared.
set -euo pipefail
export LC_ALL=C.UTF-8
my() { mariadb --batch --skip-column-names --user=root --password=old-root-pw "$@"; }
pg() { runuser -u postgres -- psql --no-psqlrc --tuples-only --no-align --port=5433 --set ON_ERROR_STOP=1 "$@"; }
# Each prints what a program of theirs gets to see.
shopper() { mariadb --batch --skip-column-names --protocol=tcp --host=127.0.0.1 --port=3307 --user=shopper --password=shop-pw shop "$@"; }
app() { PGPASSWORD=app-pw psql --no-psqlrc --tuples-only --no-align "host=127.0.0.1 port=5433 user=app dbname=shop" "$@"; }
cd /

if [ "$1" = plant ]; then
  # As a hardening baseline does it; sessions of root have it by PAM.
  sed -i 's/^UMASK.*/UMASK 027/' /etc/login.defs
  grep -q '^UMASK' /etc/login.defs || echo 'UMASK 027' >>/etc/login.defs
  grep -q pam_umask /etc/pam.d/common-session || echo 'session optional pam_umask.so' >>/etc/pam.d/common-session

  for name in ann bob; do
    useradd --create-home --shell /bin/bash --comment "${name^}" "$name"
    echo "$name:$name-pw" | chpasswd
  done
  usermod --append --groups sudo ann
  mkdir -p /srv/people /srv/shared
  useradd --create-home --home-dir /srv/people/carl carl
  useradd --non-unique --uid 0 --gid 0 --no-create-home --home-dir /root toor
  groupadd docker
  chown ann:ann /srv/shared
  chmod 0755 /srv/shared

  export DEBIAN_FRONTEND=noninteractive
  apt-get install -y -q --no-install-recommends mariadb-server postgresql >&2
  printf '[mysqld]\nport = 3307\nbind-address = 127.0.0.1\ninnodb_buffer_pool_size = 192M\nmax_connections = 222\n' >/etc/mysql/mariadb.conf.d/70-shop.cnf
  chmod 0644 /etc/mysql/mariadb.conf.d/70-shop.cnf
  systemctl restart mariadb
  mariadb <<'SQL'
CREATE DATABASE shop CHARACTER SET latin1; USE shop; CREATE TABLE orders SELECT seq AS id FROM seq_1_to_1234;
CREATE USER shopper@'127.0.0.1' IDENTIFIED BY 'shop-pw'; GRANT ALL ON shop.* TO shopper@'127.0.0.1';
CREATE USER local@localhost IDENTIFIED BY 'local-pw'; CREATE USER root@'%' IDENTIFIED BY 'old-root-pw';
ALTER USER root@localhost IDENTIFIED VIA mysql_native_password USING PASSWORD('old-root-pw');
SQL
  etc=$(ls -d /etc/postgresql/*/main)
  sed -i -e 's/^port = .*/port = 5433/' -e 's/^max_connections = .*/max_connections = 200/' "$etc/postgresql.conf"
  systemctl restart postgresql
  pg -q postgres <<'SQL'
CREATE ROLE app LOGIN PASSWORD 'app-pw';
CREATE DATABASE shop OWNER app;
SQL
  PGPASSWORD=app-pw psql -qX "host=127.0.0.1 port=5433 user=app dbname=shop" -c "CREATE TABLE orders AS SELECT g AS id FROM generate_series(1, 4321) g"
fi

for name in root ann bob carl toor www-data; do
  echo "account $(getent passwd $name) $(id -Gn $name) $(getent shadow $name | sha256sum)"
done
stat --printf='directory %n %a %U %G\n' /home/ann /home/bob /srv/people /srv/people/carl /srv/shared
echo "sudo $(sudo -l -U ann | grep -c ALL)"
echo "mysql settings $(my -e 'SELECT @@port, @@bind_address, @@skip_networking, @@innodb_buffer_pool_size, @@max_connections, @@local_infile')"
my -e "SELECT 'mysql account', user, host, SHA2(priv, 256) FROM mysql.global_priv WHERE user IN ('root', 'shopper', 'local', 'mysql') ORDER BY 2, 3"
echo "mysql database $(my -e "SHOW CREATE DATABASE shop")"
echo "mysql rows by TCP $(shopper -e 'SELECT COUNT(*) FROM orders')"
echo "mysql root by password $(runuser -u ann -- mariadb -uroot -pold-root-pw --batch --skip-column-names -e 'SELECT 1')"
for setting in port listen_addresses max_connections shared_buffers work_mem ssl password_encryption; do
  echo "postgres setting $setting $(pg postgres -c "SHOW $setting")"
done
pg postgres -c "SELECT 'postgres account', rolname, rolcanlogin, md5(rolpassword) FROM pg_authid WHERE rolname IN ('app', 'postgres') ORDER BY 2"
pg postgres -c "SELECT 'postgres database', datname, pg_get_userbyid(datdba), datacl FROM pg_database WHERE datname IN ('shop', 'postgres') ORDER BY 2"
echo "postgres rows by TCP $(app -c 'SELECT COUNT(*) FROM orders')"
pg postgres -c "SELECT 'postgres rule', type, database, user_name, address, auth_method FROM pg_hba_file_rules
  WHERE NOT user_name && '{jupyter,reader}' ORDER BY rule_number" 2>/dev/null ||
  pg postgres -c "SELECT 'postgres rule', type, database, user_name, address, auth_method FROM pg_hba_file_rules
    WHERE NOT user_name && '{jupyter,reader}' ORDER BY line_number"
for file in /etc/mysql/mariadb.conf.d/70-shop.cnf /etc/postgresql/*/main/postgresql.conf /etc/postgresql/*/main/start.conf; do
  echo "file $(sha256sum "$file") $(stat -c '%a %U' "$file")"
done
