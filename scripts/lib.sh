# shellcheck shell=sh
# Shared by the scripts beside it. What people read goes to stderr, so that stdout stays free for answers.

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Runs a command and gives a sign of life every 10 seconds: patiently "<what>" command...
patiently() {
    patiently_what=$1
    shift
    "$@" &
    patiently_pid=$!
    trap 'kill "$patiently_pid"; exit 130' INT TERM
    patiently_seconds=0
    while kill -0 "$patiently_pid" 2>/dev/null; do
        sleep 1
        patiently_seconds=$((patiently_seconds + 1))
        [ $((patiently_seconds % 10)) -ne 0 ] || say "  ... $patiently_what: $patiently_seconds s"
    done
    trap - INT TERM
    wait "$patiently_pid"
}

# Debian, Ubuntu and their kin, as root: only there may a script install what is missing.
can_install() { [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; }

apt_get() { DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" >/dev/null; }

# The lists of packages are fetched once in a run of a script.
install_packages() {
    if [ -z "${apt_lists_are_fresh:-}" ]; then
        patiently "fetching the lists of packages" apt_get update
        apt_lists_are_fresh=yes
    fi
    patiently "installing $*" apt_get install --no-install-recommends --yes "$@"
}

# Every place where a Python of this version may be. A name on PATH may be a shim that cannot run, and hide one that can.
places() {
    IFS=:
    for directory in $PATH /usr/local/bin /usr/bin; do
        printf '%s\n' "$directory/python$1"
    done
    unset IFS
    for candidate in "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/"$1".*/bin/python"$1"; do
        printf '%s\n' "$candidate"
    done
}
# Only running it shows whether it works. ansible-core 2.21 needs 3.12; the lock was made for versions up to 3.14.
PYTHONS="3.14 3.13 3.12"
is_suitable() { "$1" -c 'import sys; sys.exit(not (3, 12) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; }
version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
# find_python 3.14 3.13 ...: the first of these versions that can be used.
find_python() {
    for version in "$@"; do
        for candidate in $(places "$version"); do
            if [ -x "$candidate" ] && is_suitable "$candidate"; then
                printf '%s\n' "$candidate"
                return 0
            fi
        done
    done
    return 1
}

# use_uv: sets UV to the locked uv, which any Python from 3.9 on may have installed, and hands it what pip is told.
use_uv() {
    uv_home=.cache/uv
    UV=$PWD/$uv_home/bin/uv
    if ! { [ -f "$uv_home/installed" ] && cmp -s "$uv_home/installed" requirements/uv.txt && "$UV" --version >/dev/null 2>&1; }; then
        uv_python=${PYTHON:-}
        # shellcheck disable=SC2086 # several words
        for candidate in $(find_python $PYTHONS) /usr/bin/python3 "$(command -v python3 || printf none)"; do
            [ -n "$uv_python" ] || ! "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 9))' 2>/dev/null || uv_python=$candidate
        done
        if [ -z "$uv_python" ]; then
            can_install || die "No Python that can make virtual environments was found: install one (Debian, Ubuntu: sudo apt install python3-venv) and run this again."
            install_packages python3-venv ca-certificates
            uv_python=/usr/bin/python3
        fi
        rm -rf "$uv_home"
        "$uv_python" -m venv "$uv_home"
        patiently "installing uv" "$uv_home/bin/python" -m pip install -qq --no-compile --disable-pip-version-check --require-hashes -r requirements/uv.txt ||
            die "uv could not be installed: pip's message above says why. Run this again when it is mended."
        cp requirements/uv.txt "$uv_home/installed"
    fi
    settings=$("$uv_home/bin/python" scripts/uv_settings.py)
    eval "$settings"
}
