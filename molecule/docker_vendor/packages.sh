#!/bin/sh
# packages.sh: a signed package repository that has the distribution's engine under the vendor's names, as a newer version.
set -eu
umask 022
mkdir -p /srv/sources/packages/dists/test/stable/binary-amd64 /srv/sources/packages/pool
cd /srv/sources/packages

made=$(mktemp -d)
(cd "$made" && apt-get download -qq docker.io docker-cli containerd) >/dev/null
for pair in docker.io=docker-ce docker-cli=docker-ce-cli containerd=containerd.io; do
  from=${pair%=*} to=${pair#*=}
  dpkg-deb -R "$made/$from"_*.deb "$made/$to"
  # The first name that a package depends on or conflicts with stays: only those of the three change.
  sed -i -E -e "s/^Package: .*/Package: $to/" -e 's/^Version: (.:)?/Version: 9:/' -e '/^(Breaks|Conflicts|Replaces|Provides|Source|Built-Using):/d' \
    -e '/^Depends:/s/containerd( \([^)]*\))?/containerd.io/' "$made/$to/DEBIAN/control"
  printf 'Conflicts: %s\nReplaces: %s\n' "$from" "$from" >>"$made/$to/DEBIAN/control"
  dpkg-deb -Znone -b "$made/$to" "pool/$to.deb" >/dev/null
done
rm -r "$made"

cd dists/test
for deb in ../../pool/*.deb; do
  dpkg-deb -f "$deb"
  printf 'Filename: pool/%s\nSize: %s\nSHA256: %s\n\n' "${deb##*/}" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d ' ' -f 1)"
done >stable/binary-amd64/Packages
{
  printf 'Suite: test\nCodename: test\nComponents: stable\nArchitectures: amd64\nDate: %s\nSHA256:\n' "$(LC_ALL=C date -Ru)"
  printf ' %s %s %s\n' "$(sha256sum stable/binary-amd64/Packages | cut -d ' ' -f 1)" "$(stat -c %s stable/binary-amd64/Packages)" \
    stable/binary-amd64/Packages
} >Release

GNUPGHOME=$(mktemp -d)
export GNUPGHOME
gpg --batch --quiet --passphrase '' --quick-generate-key test rsa2048 sign never 2>/dev/null
gpg --batch --quiet --clearsign --output InRelease Release
gpg --batch --armor --export >../../gpg
gpg --batch --list-keys --with-colons | awk -F : '$1 == "fpr" {print $10; exit}'
