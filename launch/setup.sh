# Sourced by the other scripts: goes to the root of the repository and makes .venv hold what requirements.txt pins, with the JAX
# for an accelerator where JAX_EXTRA names one (cuda12, cuda13, tpu).
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PYTHON=${PYTHON:-python3}
if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "error: Python 3.11 or newer is needed, found: $("$PYTHON" --version 2>&1). Set PYTHON=/path/to/python3.11" >&2
  exit 1
fi

# Installs the packages that standard input lists, unless they are what was installed last under the name $1.
install() {
  local wanted
  wanted=$(cat)
  if [ "$wanted" != "$(cat ".venv/$1" 2>/dev/null)" ]; then
    echo "Installing packages into .venv (the first time a minute or two, about 1.2 GB; more for an accelerator)" >&2
    "$PYTHON" -m venv .venv
    printf '%s\n' "$wanted" > .venv/wanted.txt
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r .venv/wanted.txt
    mv .venv/wanted.txt ".venv/$1"
  fi
}

{ cat requirements.txt; if [ -n "${JAX_EXTRA:-}" ]; then echo "jax[$JAX_EXTRA]"; fi; } | install installed.txt
