# seed.sh <image> <uid:gid> <home> <folder>: copies what the image has in its home to <folder>/home, as that user and without replacing a file.
set -eu
docker container run --rm --network none --cap-drop ALL --security-opt no-new-privileges --user "$2" \
  --mount "type=bind,source=$4/home,target=/run/home" --workdir "$3" --entrypoint /bin/bash "$1" -c \
  'set -euo pipefail; umask 077; ls -A | tar -c -f - -T - | tar -x -f - -C /run/home --skip-old-files'
touch "$4/.seeded"
