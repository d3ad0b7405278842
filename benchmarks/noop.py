"""A trial that does nothing: reports once, and notes its first and its last moment in ``$BENCHMARK_FACTS``."""

import time

_BEGIN = time.time()

import argparse  # noqa: E402
import importlib  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--x", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=0.0, help="to sleep")
    parser.add_argument("--reporter", default="cloudtune.report", help="module that has Reporter; '-': none")
    args, _ = parser.parse_known_args()
    time.sleep(args.seconds)
    if args.reporter != "-":
        importlib.import_module(args.reporter).Reporter()(loss=args.x)
    sys.stdout.flush()
    name = os.path.join(os.environ["BENCHMARK_FACTS"], f"{os.getpid()}-{time.time_ns()}")  # noqa: PTH118
    with open(name, "w", encoding="ascii") as file:  # noqa: PTH123  pathlib would be most of what it imports
        file.write(f"{_BEGIN!r} {time.time()!r}")
    os._exit(0)  # so that the moment noted is the end


if __name__ == "__main__":
    main()
