#!/bin/bash
set -eu
mkdir -p /srv/repository/pool
cd /srv/repository/pool
chown _apt .
apt-get download -q postgresql-15 postgresql-client-15 libicu72 libldap-2.5-0 libllvm14 2>&1 | tail -n 1
cd ..
apt-ftparchive packages pool >Packages
# Flat: the suite is a folder, and there are no components.
apt-ftparchive -o APT::FTPArchive::Release::Suite=stand-in release . >/tmp/Release
mv /tmp/Release Release
export GNUPGHOME=/root/repository-key
mkdir -pm 700 $GNUPGHOME
gpg --batch --quiet --passphrase '' --quick-generate-key 'Stand-in <stand-in@example.org>' ed25519 sign never
gpg --batch --yes --clearsign --output InRelease Release
gpg --with-colons --list-keys | awk -F : '/^fpr/ { print $10; exit }' >fingerprint
systemd-run --quiet --unit=repository python3 -m http.server --directory /srv/repository 80
gpg --armor --export >key.asc
