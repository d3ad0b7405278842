"""One of several processes that want the same claims. Each line of input is an order, each of output an answer.

``claim_contest.py URL BUCKET``; orders: ``take KEY``, ``release``.
"""

from __future__ import annotations

import os
import sys

from cloudtune.aws.objects import S3Objects
from cloudtune.aws.session import AwsSession
from cloudtune.clock import WallClock
from cloudtune.errors import Conflict
from cloudtune.paths import S3Uri
from cloudtune.remote.polite_claim import PoliteClaim


def main(url: str, bucket: str) -> None:
    environ = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}
    objects = S3Objects(AwsSession(endpoint_url=url, environ=environ))
    claim: PoliteClaim | None = None
    print("ready", flush=True)
    for order in sys.stdin:
        what, _, key = order.strip().partition(" ")
        if what == "take":
            claim = PoliteClaim(objects, S3Uri(bucket, key), WallClock())
            try:
                claim.take(f"process-{os.getpid()}")
                print("won", flush=True)
            except Conflict as error:
                print(f"lost: {error.message}", flush=True)
        elif claim is not None:
            claim.release()
            print("released", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
