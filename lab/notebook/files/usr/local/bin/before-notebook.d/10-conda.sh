# Sourced by start.sh: the base environment counts as activated.
export CONDA_PREFIX="$CONDA_DIR" CONDA_DEFAULT_ENV=base CONDA_SHLVL=1
