#!/bin/sh
# The prefix, by the installer of the conda stand-in.
set -eu
wget -q -O /tmp/installer.sh "$INSTALLER"
sh /tmp/installer.sh -b -u -p "$CONDA_DIR" >/dev/null
rm /tmp/installer.sh
[ -e "$CONDA_DIR/bin/mamba" ] || ln -s conda "$CONDA_DIR/bin/mamba"
cat >"$CONDA_DIR/.condarc" <<'END'
auto_update_conda: false
show_channel_urls: true
channels:
  - conda-forge
END
fix-permissions "$CONDA_DIR" "$HOME"
