# The steps of a new SSH key on this machine. Each can be cut off anywhere and done again: sh -s STEP FOLDER COMMENT.
# id_ed25519 is the key in use, .new one that the server is to learn, .old the former one until the server has forgotten it.
set -eu
umask 077
step=$1 comment=$3
cd "$2"

# A public half always follows its private one.
public() {
  ssh-keygen -y -P '' -f "$1" | awk -v "comment=$comment" '{ print $1, $2, comment }' >"$1.pub.part"
  [ -s "$1.pub.part" ] || { echo "$1 cannot be read without a passphrase" >&2; exit 1; }
  if cmp -s "$1.pub.part" "$1.pub"; then rm "$1.pub.part"; else mv -f "$1.pub.part" "$1.pub"; fi
}

case $step in
make)
  [ -e id_ed25519 ] || { echo "there is no id_ed25519 in $2" >&2; exit 1; }
  public id_ed25519
  if [ -e id_ed25519.new ]; then
    public id_ed25519.new
    echo unfinished
  elif [ -e id_ed25519.old ]; then
    public id_ed25519.old
    echo switched
  else
    rm -f id_ed25519.part id_ed25519.part.pub
    ssh-keygen -q -t ed25519 -N '' -C "$comment" -f id_ed25519.part
    rm id_ed25519.part.pub
    mv id_ed25519.part id_ed25519.new
    public id_ed25519.new
    echo made
  fi
  ;;
switch)
  if [ -e id_ed25519.new ]; then
    ln -f id_ed25519 id_ed25519.old
    public id_ed25519.old
    mv -f id_ed25519.new id_ed25519
  fi
  public id_ed25519
  rm -f id_ed25519.new.pub
  ;;
forget)
  rm -f id_ed25519.new.pub id_ed25519.part id_ed25519.part.pub id_ed25519.pub.part id_ed25519.new.pub.part id_ed25519.old.pub.part
  rm -f id_ed25519.old.pub id_ed25519.old
  ;;
esac
