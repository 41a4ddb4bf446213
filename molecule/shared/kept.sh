#!/bin/sh
# What a person would miss: kept.sh plant | count [folder of notebooks ...]
# plant: a table with rows in each database, and notebooks. count: a line for each table and folder, to be compared.
set -eu
action=$1
shift
[ $# -gt 0 ] || set -- /srv/notebooks /srv/notebooks-container
rows=1000

# MariaDB's client has a name of its own; the old one is a package of its own in newer systems.
client=$(command -v mariadb || command -v mysql) || client=""
my() { "$client" --batch --skip-column-names "$@"; }
pg() { runuser -u postgres -- psql --no-psqlrc --tuples-only --no-align --set ON_ERROR_STOP=1 "$@"; }

if [ -n "$client" ] && [ -S /run/mysqld/mysqld.sock ]; then
  databases=$(my -e "select schema_name from information_schema.schemata
    where schema_name not in ('mysql', 'sys', 'information_schema', 'performance_schema')")
  for database in $databases; do
    if [ "$action" = plant ]; then
      {
        echo "drop table if exists kept; create table kept (number int primary key, words varchar(40)); insert into kept values"
        seq "$rows" | sed "s/.*/(&, 'row & is kept'),/; \$ s/,\$/;/"
      } | my "$database"
    fi
    for table in $(my -e "select table_name from information_schema.tables where table_schema = '$database'"); do
      echo "mysql $database.$table $(my "$database" -e "select count(*) from \`$table\`")"
    done
  done
fi

if id postgres >/dev/null 2>&1 && command -v psql >/dev/null 2>&1; then
  cd / # where the account postgres may be
  for database in $(pg -c "select datname from pg_database where not datistemplate and datname <> 'postgres'" postgres); do
    if [ "$action" = plant ]; then
      owner=$(pg -c "select quote_ident(pg_get_userbyid(datdba)) from pg_database where datname = '$database'" postgres)
      pg -q -c "set client_min_messages = warning; drop table if exists kept; set role $owner;
        create table kept as select number, 'row ' || number || ' is kept' as words from generate_series(1, $rows) as number" \
        "$database"
    fi
    for table in $(pg -c "select format('%I.%I', schemaname, tablename) from pg_tables
      where schemaname not in ('pg_catalog', 'information_schema')" "$database"); do
      echo "postgres $database $table $(pg -c "select count(*) from $table" "$database")"
    done
  done
fi

for folder; do
  [ -d "$folder" ] || continue
  if [ "$action" = plant ]; then
    for number in 1 2 3; do
      echo '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}' >"$folder/kept_$number.ipynb"
      chown --reference="$folder" "$folder/kept_$number.ipynb"
    done
  fi
  echo "notebooks $folder $(find "$folder" -name '*.ipynb' | wc -l)"
done
