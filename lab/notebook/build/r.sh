#!/bin/sh
# R and its kernel. The channel's package brings no kernel specification, the real one does.
set -eu
mamba install --yes --quiet --override-channels -c "$CHANNEL" r-base r-irkernel
spec="$CONDA_DIR/share/jupyter/kernels/ir"
mkdir -p "$spec"
cat >"$spec/kernel.json" <<EOF
{
  "argv": ["$CONDA_DIR/bin/R", "--slave", "-e", "IRkernel::main()", "--args", "{connection_file}"],
  "display_name": "R",
  "language": "R"
}
EOF
mamba clean --all --yes
fix-permissions "$CONDA_DIR" "$HOME"
