#!/bin/sh
# LocalStack's core (S3, STS, IAM, CloudWatch Logs) without Docker on 127.0.0.1, port $1 (default 4566), until Ctrl-C.
# $PYTHON (default python3) must be 3.13 or later: with 3.12 it finds no plugins. Nothing is kept. A first start that
# gives up waiting on a busy machine goes well the second time.
set -e
environment="${XDG_CACHE_HOME:-$HOME/.cache}/cloudtune-localstack"
if [ ! -x "$environment/bin/localstack-supervisor" ]; then
    "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 13) and "PYTHON must be 3.13 or later")'
    "${PYTHON:-python3}" -m venv --clear "$environment"
    # It does not start with newer releases of the last four.
    "$environment/bin/pip" install -q 'localstack-core[runtime]==2026.3.0' 'cbor2<5.8' 'pyOpenSSL==24.3.*' \
        'cryptography==44.*' service_identity
fi
export GATEWAY_LISTEN="127.0.0.1:${1:-4566}" SERVICES=s3,sts,iam,logs SKIP_SSL_CERT_DOWNLOAD=1 DISABLE_EVENTS=1
cd "$environment" # this folder would pass for a part of the package
exec "$environment/bin/python" -m localstack.runtime.main
