"""What importing costs: seconds and modules, each in fresh interpreters.

python benchmarks/import_times.py
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from measuring import peer_python, show, timed

STATEMENTS = {
    "nothing": "pass",
    "numpy": "import numpy",
    "cloudtune": "import cloudtune",
    "cloudtune.report.Reporter": "from cloudtune.report import Reporter",
    "cloudtune.Reporter": "from cloudtune import Reporter",
    "cloudtune.tuner.Tuner": "from cloudtune.tuner import Tuner",
    "cloudtune.aws.session": "import cloudtune.aws.session",
}
#: Beside them, with --peers.
PEER_STATEMENTS = {
    "syne_tune.Reporter": "from syne_tune import Reporter",
    "syne_tune.Tuner": "from syne_tune import Tuner",
}
HEAVY = ("boto3", "botocore", "dill", "numpy", "pandas", "rich", "sagemaker", "scipy", "torch")
_COUNT = f"; import sys; print(len(sys.modules), *(name for name in {HEAVY} if name in sys.modules))"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--peers", action="store_true", help="Syne Tune 0.16 as well (installed if missing)")
    args = parser.parse_args()
    here = Path(sys.executable)
    cases = [(name, here, statement) for name, statement in STATEMENTS.items()]
    if args.peers:
        peer = peer_python("syne-tune", "0.16.0")
        cases += [("nothing (Syne Tune's environment)", peer, "pass")]
        cases += [(name, peer, statement) for name, statement in PEER_STATEMENTS.items()]
    times: dict[str, list[float]] = {name: [] for name, _, _ in cases}
    for _ in range(args.repetitions):  # in turns: what else runs here disturbs all alike
        for name, python, statement in cases:
            times[name].append(timed(lambda p=python, s=statement: run(p, s)))
    rows, empty = [], 0.0
    for name, python, statement in cases:
        fastest = min(times[name])
        empty = fastest if statement == "pass" else empty
        numpy = min(times["numpy"]) - min(times["nothing"])
        count, *heavy = run(python, statement + _COUNT).split()
        ratio = f"{(fastest - empty) / numpy:.2f}"
        rows.append(
            [name, f"{1000 * fastest:.0f}", f"{1000 * (fastest - empty):.0f}", ratio, count, " ".join(heavy)]
        )
    show(
        "Import times",
        ["import", "process, ms", "import, ms", "/ numpy", "modules", "third parties"],
        rows,
        [f"Fastest of {args.repetitions} fresh interpreters each, in turns; import: less the empty interpreter."],
    )


def run(python: Path, statement: str) -> str:
    done = subprocess.run(
        [str(python), "-c", statement], stdout=subprocess.PIPE, text=True, timeout=120, check=True
    )
    return done.stdout


if __name__ == "__main__":
    main()
