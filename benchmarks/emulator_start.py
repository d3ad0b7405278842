"""Seconds until the emulator serves, beside the empty interpreter and the imports that it cannot do without.

python benchmarks/emulator_start.py
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from emulator_process import emulator
from measuring import median_time, quantile, show

LIMIT_S = 2.0
_TIMEOUT_S = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=11)
    args = parser.parse_args()
    ready = []
    for _ in range(args.starts):
        with emulator() as running:
            ready.append(running.ready_s)

    def importing(modules: str) -> float:
        command = [sys.executable, "-c", f"import {modules}" if modules else ""]
        return median_time(lambda: subprocess.run(command, check=True, timeout=_TIMEOUT_S), args.starts)

    limit = importing("moto.moto_server.werkzeug_app, moto.s3.models, moto.logs.models")
    rows = [
        ["empty interpreter", f"{importing(''):.2f}", "", ""],
        ["import of moto's server, S3 and logs", f"{limit:.2f}", "", "1.00"],
        [
            "the emulator serves",
            *(f"{quantile(ready, share):.2f}" for share in (0.5, 0.9)),
            f"{quantile(ready, 0.5) / limit:.2f}",
        ],
    ]
    show(
        f"Start of the emulator ({args.starts} times), s; wanted: {LIMIT_S}",
        ["", "median", "p90", "/ moto"],
        rows,
        ["From the command to the line with its address, isolation probed, credentials and authority made."],
    )


if __name__ == "__main__":
    main()
