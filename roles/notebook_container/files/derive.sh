# derive.sh <base> <image> <label>: runs the script on standard input as root in the base image, and keeps what came of it as <image>.
set -eu
base=$1 image=$2 label=$3
name=notebook-container-build

drop() {
  if docker container inspect "$name" >/dev/null 2>&1; then
    docker container rm --force --volumes "$name" >/dev/null
  fi
}

# What a run that was cut off left.
drop
trap drop EXIT
docker container run --interactive --name "$name" --user root --entrypoint /bin/bash --tmpfs /run/build "$base" -s >&2
# User, entry point and command are the image's own again.
docker container commit --change "LABEL $label" \
  --change "USER $(docker image inspect --format '{{.Config.User}}' "$base")" \
  --change "ENTRYPOINT $(docker image inspect --format '{{json .Config.Entrypoint}}' "$base")" \
  --change "CMD $(docker image inspect --format '{{json .Config.Cmd}}' "$base")" \
  "$name" "$image"
