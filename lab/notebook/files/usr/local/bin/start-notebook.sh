#!/bin/sh
echo "WARNING: use start-notebook.py instead" >&2
exec /usr/local/bin/start-notebook.py "$@"
