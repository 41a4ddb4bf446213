#!/bin/sh
# JupyterLab and what data scientists expect: from the channel what it has, by pip the rest.
set -eu
# shellcheck disable=SC2046 # words
mamba install --yes --quiet --override-channels -c "$CHANNEL" $(cat /opt/build/channel.txt)
pip install --quiet --no-cache-dir --no-compile --no-deps --require-hashes -r /opt/build/pip.txt
pip check
mamba clean --all --yes
# Compiled now, so that a first start is not slower than the others; not what neither server nor kernels load.
python -m compileall -q -j 0 -x '/(tests?|pip|_vendored|distutils|f2py|third_party|lexers)/' "$CONDA_DIR/lib"
fix-permissions "$CONDA_DIR" "$HOME"
