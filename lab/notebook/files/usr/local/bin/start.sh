#!/bin/bash
# The entry point: runs the hooks, then the command (bash if there is none) as the user of notebooks.
# Started as root it becomes NB_USER, with NB_UID, NB_GID, NB_GROUP, CHOWN_HOME and CHOWN_EXTRA heeded; started as
# another user it stays that user, and none of these has an effect. GRANT_SUDO is not in this stand-in.
set -e

note() { [ -n "$JUPYTER_DOCKER_STACKS_QUIET" ] || printf '%s\n' "start.sh: $*" >&2; }
is_yes() { [ "$1" = 1 ] || [ "$1" = yes ]; }

# A failing hook is reported and passed over.
run_hooks() {
    local hook
    note "hooks in $1, as $(id -u):$(id -g)"
    for hook in "$1"/*; do
        [ -e "$hook" ] || continue
        set +e
        case $hook in
        *.sh) source "$hook" ;;
        *) [ ! -x "$hook" ] || "$hook" ;;
        esac || note "$hook failed"
        set -e
    done
}

forget_variables() {
    local name
    for name in ${JUPYTER_ENV_VARS_TO_UNSET//,/ } ; do
        unset "$name"
    done
    unset JUPYTER_ENV_VARS_TO_UNSET
}

become_wanted() {
    if [ "$NB_USER" != jovyan ] && ! id "$NB_USER" >/dev/null 2>&1; then
        usermod --login "$NB_USER" --home "/home/$NB_USER" jovyan
        [ -e "/home/$NB_USER" ] || cp -a /home/jovyan "/home/$NB_USER"
        case $PWD/ in /home/jovyan/*) cd "/home/$NB_USER${PWD#/home/jovyan}" ;; esac
    fi
    if [ "$NB_UID:$NB_GID" != "$(id -u "$NB_USER"):$(id -g "$NB_USER")" ]; then
        note "$NB_USER becomes $NB_UID:$NB_GID"
        groupadd --force --gid "$NB_GID" --non-unique "${NB_GROUP:-$NB_USER}"
        sed "s|^$NB_USER:.*|$NB_USER:x:$NB_UID:$NB_GID::/home/$NB_USER:/bin/bash|" /etc/passwd >/tmp/passwd
        cat /tmp/passwd >/etc/passwd
        rm /tmp/passwd
        usermod --append --groups 100 "$NB_USER"
    fi
    if is_yes "$CHOWN_HOME"; then
        # shellcheck disable=SC2086 # options
        chown $CHOWN_HOME_OPTS "$NB_UID:$NB_GID" "/home/$NB_USER"
    fi
    local extra
    for extra in ${CHOWN_EXTRA//,/ }; do
        # shellcheck disable=SC2086 # options
        chown $CHOWN_EXTRA_OPTS "$NB_UID:$NB_GID" "$extra"
    done
}

# Some programs want a name for whoever runs them; the image lets group root write one.
name_myself() {
    if whoami >/dev/null 2>&1; then
        return
    fi
    if [ ! -w /etc/passwd ]; then
        note "no name for uid $(id -u): /etc/passwd cannot be written by group $(id -g)"
        return
    fi
    sed 's/^jovyan:/nayvoj:/' /etc/passwd >/tmp/passwd
    printf '%s:x:%s:%s:,,,:/home/jovyan:/bin/bash\n' "$NB_USER" "$(id -u)" "$(id -g)" >>/tmp/passwd
    cat /tmp/passwd >/etc/passwd
    rm /tmp/passwd
}

[ $# -gt 0 ] || set -- bash
if [ "$_START_SH_EXECUTED" = 1 ]; then
    exec "$@"
fi
export _START_SH_EXECUTED=1

run_hooks /usr/local/bin/start-notebook.d
if [ "$(id -u)" = 0 ]; then
    become_wanted
    run_hooks /usr/local/bin/before-notebook.d
    forget_variables
    note "as $NB_USER: $*"
    HOME="/home/$NB_USER" exec setpriv --reuid "$NB_USER" --regid "$NB_GID" --init-groups "$@"
fi
name_myself
[ -w /home/jovyan ] || note "/home/jovyan cannot be written: start with group 100 (--user UID:100 or --group-add users)"
run_hooks /usr/local/bin/before-notebook.d
forget_variables
note "runs: $*"
exec "$@"
