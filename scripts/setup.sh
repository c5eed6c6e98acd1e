# Sourced by the scripts beside it: makes .venv with the locked dependencies, and does nothing when it is up to date.
# Needs python3 (3.11 or newer, with venv) and nothing else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    echo "error: $1" >&2
    echo "  next: $2" >&2
    exit 2
}

python_for_venv=${PYTHON:-python3}
command -v "$python_for_venv" >/dev/null || fail "python3 was not found" "install Python 3.11 or newer, or set PYTHON=/path/to/python"
"$python_for_venv" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python_for_venv" --version) is too old" "install Python 3.11 or newer, or set PYTHON=/path/to/python"

stamp=.venv/.locked
wanted=$({ cat requirements.lock requirements-dev.lock; "$python_for_venv" --version; pwd; } | cksum)
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "setting up .venv with the locked dependencies (once, about a minute)" >&2
    "$python_for_venv" -m venv --clear .venv || fail "python3 -m venv failed" "install venv (Debian: apt install python3-venv)"
    rm -rf ./*.egg-info  # of an older set-up: its list of dependencies would be believed
    log=.venv/setup.log
    {
        .venv/bin/python -m pip install --disable-pip-version-check --require-hashes -r requirements-dev.lock &&
            .venv/bin/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
    } >"$log" 2>&1 || { tail -n 20 "$log" >&2; fail "the dependencies could not be installed" "read .venv/setup.log; is the package index reachable?"; }
    echo "$wanted" >"$stamp"
fi
export PATH="$PWD/.venv/bin:$PATH"
