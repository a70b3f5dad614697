#!/usr/bin/env bash
# Runs the tests: launch/test.sh [pytest arguments]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
install installed-for-tests.txt < tests/requirements.txt
exec .venv/bin/python -m pytest -n 2 --dist worksteal "$@"
