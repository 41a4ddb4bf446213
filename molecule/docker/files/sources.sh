#!/bin/sh
# sources.sh <own address> <password>: a container registry with TLS by a private CA and a login, and images in it.
set -eu
address=$1
cd /srv/sources

openssl req -x509 -newkey rsa:2048 -nodes -days 30 -keyout ca.key -out ca.crt -subj "/CN=Test CA" \
  -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
openssl req -newkey rsa:2048 -nodes -keyout tls.key -out tls.csr -subj "/CN=$address" 2>/dev/null
printf 'subjectAltName=IP:%s\nauthorityKeyIdentifier=keyid\n' "$address" >san
openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile san -out tls.crt 2>/dev/null
perl -e 'print "reader:", crypt($ARGV[0], q($2b$05$abcdefghijklmnopqrstuu)), "\n"' "$2" >htpasswd

# At 443 and at 444, of which its clients know no CA.
cat >/etc/systemd/system/registry@.service <<'UNIT'
[Service]
Environment=REGISTRY_HTTP_ADDR=:%i REGISTRY_HTTP_TLS_CERTIFICATE=/srv/sources/tls.crt REGISTRY_HTTP_TLS_KEY=/srv/sources/tls.key
Environment=REGISTRY_AUTH=htpasswd REGISTRY_AUTH_HTPASSWD_REALM=test REGISTRY_AUTH_HTPASSWD_PATH=/srv/sources/htpasswd
Environment=REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/srv/sources/registry
ExecStart=/usr/bin/docker-registry serve /etc/docker/registry/config.yml
UNIT
cat >/etc/systemd/system/packages.service <<'UNIT'
[Service]
ExecStart=/usr/bin/python3 -m http.server --directory /srv/sources/packages 80
UNIT
mkdir -p packages
systemctl daemon-reload
systemctl restart registry@443.service registry@444.service packages.service
python3 images.py "$address" "$2"
