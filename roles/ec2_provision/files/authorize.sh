# Run on the server as root, by stdin after a line `set -- USER NEW [OLD]`: lets the new public key in, or takes the old one away.
# The file is exchanged whole, and the old key goes only where the new one is.
set -eu
user=$1 new=$2 old=${3-}
home=$(getent passwd "$user" | cut -d : -f 6)
blob() { set -- $1; echo "$2"; }
change() {
  cp -p "$1" "$1.part"
  if [ -n "$old" ]; then
    grep -vF "$(blob "$old")" "$1" >"$1.part" || [ $? = 1 ]
  else
    [ -z "$(tail -c 1 "$1")" ] || echo >>"$1.part"
    echo "$new" >>"$1.part"
  fi
  sync -f "$1.part"
  mv "$1.part" "$1"
  echo "changed $1"
}
own=$home/.ssh/authorized_keys
if [ -z "$old" ]; then
  grep -qF "$(blob "$new")" "$own" || change "$own"
  exit 0
fi
grep -qF "$(blob "$new")" "$own" || { echo "$own has not the new key, so the old one stays" >&2; exit 3; }
# Images put the key into root's file, too, where it only says who to log in as.
for file in "$own" /root/.ssh/authorized_keys; do
  if [ -f "$file" ] && grep -qF "$(blob "$old")" "$file"; then change "$file"; fi
done
