# Run on the server over ssh, as the login user. 0: it can be worked on. 75: not yet. Other: it never will.
if command -v cloud-init >/dev/null; then
  cloud=$(cloud-init status 2>&1)
  case $cloud in
    *running* | *"not run"* | *"not started"*) echo "cloud-init is still at work"; exit 75 ;;
    *error*) echo "cloud-init failed: $(cloud-init status --long 2>&1 | tr '\n' ' ')"; exit 1 ;;
  esac
fi
# Package managers lock with fcntl: ask for the lock and let go of it at once.
sudo -n python3 - <<'PYTHON'
import fcntl, pathlib, sys

for name in ("/var/lib/dpkg/lock-frontend", "/var/lib/apt/lists/lock"):
    path = pathlib.Path(name)
    if path.exists():
        with path.open("r+") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                print(f"another program holds {name}")
                sys.exit(75)
PYTHON
