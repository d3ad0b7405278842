#!/bin/sh
# S3, STS and CloudWatch Logs by moto on 127.0.0.1, port $1 (default 4566), until Ctrl-C. Nothing is kept.
. "$(dirname "$0")/env.sh" # moto, too, looks for the profile that AWS_PROFILE names
exec python3 -m moto.server -H 127.0.0.1 -p "${1:-4566}"
