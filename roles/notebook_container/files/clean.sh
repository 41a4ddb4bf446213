# clean.sh <image> <base> <label>: removes former images of the role and what they were made from, where no container uses them.
set -eu
current=$1 current_base=$2 label=$3

used=$(docker container ls --all --quiet | xargs --no-run-if-empty docker container inspect --format '{{.Image}}')

gone() {
  id=$(docker image ls --quiet --no-trunc "$1")
  case "$used" in
    *"${id:-none}"*) ;;
    *)
      if [ -n "$id" ]; then
        docker image rm "$1" >/dev/null
        echo "$1"
      fi
      ;;
  esac
}

docker image ls --format '{{.Repository}}:{{.Tag}}' "${current%:*}" | while read -r image; do
  if [ "$image" != "$current" ]; then
    base=$(docker image inspect --format "{{index .Config.Labels \"$label\"}}" "$image")
    gone "$image"
    if [ "$base" != "$current_base" ]; then
      gone "$base"
    fi
  fi
done
