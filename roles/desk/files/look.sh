# look.sh <folder of the samples> <folder of a server>...: what is there, a line each.
samples=$1
shift
if [ -d "$samples" ]; then
  find "$samples" -mindepth 2 -type f | sort | while read -r file; do
    echo "file $(stat -c '%a %U' "$file") $(sha256sum "$file")"
  done
fi
for folder in "$@"; do
  if [ -L "$folder/samples" ]; then
    echo "link $(readlink "$folder/samples") $folder"
  elif [ -e "$folder/samples" ]; then
    echo "other - $folder"
  elif [ -d "$folder" ]; then
    echo "none - $folder"
  fi
done
