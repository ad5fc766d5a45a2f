#!/bin/sh
# Install the locked dependencies and fate itself (editable) into .venv.
#
#   sync.sh UV PYTHON [uv sync options selecting extras and groups]
#
# uv does not read pip's configuration. Where the package index is only reachable as pip is
# configured (own index, proxy, certificate), pip installs the same locked versions.
set -eu
uv=$1
python=$2
shift 2

if "$uv" sync --quiet --locked --inexact --python "$python" "$@"; then
    exit 0
fi

echo "uv could not install the locked packages; trying pip with its own configuration" >&2
[ -x .venv/bin/python ] || "$uv" venv --quiet --python "$python" .venv
locked=.venv/requirements.txt
"$uv" export --quiet --frozen --no-emit-project --no-hashes --output-file "$locked" "$@" >/dev/null
# A pip of its own: the environment that holds uv has one, but uv may come from elsewhere.
"$python" -m pip --python .venv/bin/python install --quiet --requirement "$locked"
"$python" -m pip --python .venv/bin/python install --quiet --no-deps --editable .
