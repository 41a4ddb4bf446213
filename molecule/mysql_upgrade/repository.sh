#!/bin/sh
# Makes /srv/repository: suites mysql and mariadb, signed by a key of its own, served on port 80.
set -eu
export DEBIAN_FRONTEND=noninteractive
mirror=$(sed -nE 's/^deb +([^ ]+) +trixie +main.*/\1/p' /etc/apt/sources.list | head -n 1)
printf 'deb %s sid main\ndeb %s bookworm main\n' "$mirror" "$mirror" >/etc/apt/sources.list.d/others.list
printf 'Package: *\nPin: release n=sid\nPin-Priority: 90\n\nPackage: *\nPin: release n=bookworm\nPin-Priority: 80\n\nPackage: src:mariadb\nPin: release n=bookworm\nPin-Priority: 990\n' \
  >/etc/apt/preferences.d/others
# A mirror of sid may be older than it thinks it should be.
apt-get -qq -o Acquire::Check-Valid-Until=false update
apt-get -qq install --no-install-recommends -y apt-utils gpg gpg-agent >/dev/null

mkdir -p /srv/repository
cd /srv/repository
collect() {
  suite=$1
  shift
  mkdir -p "pool/$suite/partial" "dists/$suite/main/binary-amd64"
  apt-get -qq install --no-install-recommends --download-only -y -o "Dir::Cache::archives=/srv/repository/pool/$suite" "$@" >/dev/null
  apt-ftparchive packages "pool/$suite" >"dists/$suite/main/binary-amd64/Packages"
  apt-ftparchive -o "APT::FTPArchive::Release::Codename=$suite" -o APT::FTPArchive::Release::Components=main \
    -o "APT::FTPArchive::Release::Architectures=amd64" release "dists/$suite" >Release
  gpg --quiet --batch --yes --clearsign --output "dists/$suite/InRelease" Release
}
gpg --quiet --batch --passphrase '' --quick-generate-key 'Vendor <vendor@example.org>' ed25519 sign never
collect mysql mysql-server/sid mysql-server-core/sid
collect mariadb mariadb-server
gpg --armor --export >key.asc
systemd-run --quiet --unit=repository python3 -m http.server --directory /srv/repository 80
