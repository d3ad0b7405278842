#!/bin/sh
# Runs what cloudtune does with S3, STS and CloudWatch Logs against the server at 127.0.0.1, port $LOCALSTACK_PORT
# (default 4566); where that is not set, against the one that $AWS_ENDPOINT_URL names. Arguments are pytest's.
here=$(cd "$(dirname "$0")" && pwd)
if [ -n "$LOCALSTACK_PORT" ] || [ -z "$AWS_ENDPOINT_URL" ]; then
    . "$here/env.sh"
fi
exec python3 -m pytest -c "$here/../pyproject.toml" "$here/test_on_server.py" "$@"
