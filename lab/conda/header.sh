#!/bin/sh
#
# NAME:  @NAME@
# VER:   @VERSION@
# PLAT:  @PLATFORM@
#
# A stand-in for the installer of a conda distribution: same options, messages and exit codes, other content.
# Nothing that was tested with it has been tested with conda, Miniforge or Anaconda.

set -eu

unset LD_LIBRARY_PATH LD_PRELOAD LD_AUDIT CONDARC MAMBARC
export LC_ALL=C

THIS_DIR=$(cd "$(dirname "$0")" && pwd)
THIS_FILE=$(basename "$0")
THIS_PATH="$THIS_DIR/$THIS_FILE"
DEFAULT_PREFIX="${HOME:-/opt}/standin-conda"
PREFIX="$DEFAULT_PREFIX"
BATCH=0
FORCE=0
INIT=0
REINSTALL=0

case "$THIS_FILE" in
    *.sh) ;;
    *)
        printf 'Please run using "bash"/"dash"/"sh"/"zsh", but not "." or "source".\n' >&2
        exit 1
        ;;
esac

USAGE="
usage: $0 [options]

Installs @NAME@ @VERSION@ (a stand-in, not the real thing)

-b           run install in batch mode (without manual intervention),
             it is expected the license terms (if any) are agreed upon
-c           run 'conda init' after installation (only applies to batch mode)
-f           no error if install prefix already exists
-h           print this help message and exit
-i           run install in interactive mode
-k           do not clear the package cache after installation
-m           disable the creation of menu items / shortcuts
-p PREFIX    install prefix, defaults to $DEFAULT_PREFIX, must not contain spaces.
-s           skip running pre/post-link/install scripts
-u           update an existing installation
-t           run package tests after installation (may install conda-build)
"

while getopts "bcifhkmp:sut" x; do
    case "$x" in
        h)
            printf '%s\n' "$USAGE"
            exit 2
            ;;
        b) BATCH=1 ;;
        c) INIT=1 ;;
        i) BATCH=0 ;;
        f | u) FORCE=1 ;;
        k | m | s | t) ;;
        p) PREFIX="$OPTARG" ;;
        ?)
            printf "ERROR: did not recognize option '%s', please try -h\n" "$x" >&2
            exit 1
            ;;
    esac
done

# Anything after the options is not understood by the real one either, but ignored.

required="@GLIBC@"
have=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed 's/.* //')
if [ -z "$have" ] || [ "$(printf '%s\n%s\n' "$required" "$have" | sort -V | head -n 1)" != "$required" ]; then
    printf 'Installer requires GLIBC >=%s, but system has %s.\n' "$required" "${have:-none}" >&2
    exit 1
fi

if [ "$BATCH" = 0 ]; then
    printf '\nWelcome to @NAME@ @VERSION@\n\nIn order to continue the installation process, please review the license\nagreement.\n'
    printf 'This is a stand-in; its packages keep the licenses they have in Debian and on PyPI.\n\n'
    printf 'Do you accept the license terms? [yes|no]\n>>> '
    read -r answer || answer=no
    case "$answer" in
        [Yy][Ee][Ss]) ;;
        *)
            printf "The license agreement wasn't approved, aborting installation.\n"
            exit 2
            ;;
    esac
    printf '\n@NAME@ will now be installed into this location:\n%s\n\n' "$PREFIX"
    printf '  - Press ENTER to confirm the location\n  - Or specify a different location below\n\n[%s] >>> ' "$PREFIX"
    read -r answer || answer=
    [ -z "$answer" ] || PREFIX="$answer"
fi

case "$PREFIX" in
    *\ *)
        printf 'ERROR: Cannot install into directories with spaces\n' >&2
        exit 1
        ;;
esac

if [ "$FORCE" = 0 ] && [ -e "$PREFIX" ]; then
    printf "ERROR: File or directory already exists: '%s'\n" "$PREFIX" >&2
    printf 'If you want to update an existing installation, use the -u option.\n' >&2
    exit 1
elif [ "$FORCE" = 1 ] && [ -e "$PREFIX" ]; then
    REINSTALL=1
fi

if ! mkdir -p "$PREFIX"; then
    printf "ERROR: Could not create directory: '%s'\n" "$PREFIX" >&2
    exit 1
fi

free=$(df -Pk "$PREFIX" | awk 'NR == 2 { print $4 }')
if [ "$free" -lt "@KILOBYTES@" ]; then
    printf 'ERROR: Not enough disk space: need %s MB in %s.\n' "$((@KILOBYTES@ / 1024))" "$PREFIX" >&2
    exit 1
fi

PREFIX=$(cd "$PREFIX" && pwd)
export PREFIX
printf 'PREFIX=%s\n' "$PREFIX"

# Like the real one: a damaged payload is only warned about. Whoever downloads has to check the hash.
sum=$(tail -n +@LINES@ "$THIS_PATH" | md5sum -)
if ! printf '%s' "$sum" | grep -q '@MD5@'; then
    printf 'WARNING: md5sum mismatch of tar archive\nexpected: @MD5@\n     got: %s\n' "${sum%% *}" >&2
fi

printf 'Unpacking payload ...\n'
cd "$PREFIX"
if ! tail -n +@LINES@ "$THIS_PATH" | tar -xzf - --no-same-owner; then
    printf 'ERROR: could not extract the payload\n' >&2
    exit 1
fi

printf '\nInstalling base environment...\n\n'
xargs -d '\n' sed -i "s|@PLACEHOLDER@|$PREFIX|g" <.stand_in_text_files
rm .stand_in_text_files
[ "$(id -u)" = 0 ] || : >.nonadmin
mkdir -p "${HOME:-/}/.conda" pkgs envs
: >>"${HOME:-/}/.conda/environments.txt"
if ! ./bin/conda --version >/dev/null; then
    printf 'ERROR: the installed conda does not run\n' >&2
    exit 1
fi
printf 'installation finished.\n'

if [ "$BATCH" = 1 ] && [ "$INIT" = 1 ]; then
    ./bin/conda init
fi
if [ -n "${PYTHONPATH:-}" ]; then
    printf 'WARNING:\n    You currently have a PYTHONPATH environment variable set. This may cause\n'
    printf '    unexpected behavior when running the Python interpreter in @NAME@.\n'
fi
if [ "$BATCH" = 0 ]; then
    printf 'Thank you for installing @NAME@!\n'
fi
exit 0
