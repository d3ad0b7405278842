"""The command line of ``cloudtune emulator``, which is that of ``python -m cloudtune.emulator`` as well."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from cloudtune._compat import StrEnum
from cloudtune.emulator.machine.isolation import CHOICES
from cloudtune.errors import SpecError

_DESCRIPTION = """\
AWS for rehearsals: S3, STS, IAM, CloudWatch Logs and SageMaker training jobs that really run, on this machine,
bound to 127.0.0.1. No account, no Docker. In a terminal it shows jobs, logs, requests and faults; Ctrl-C ends it.
"""
_EPILOG = """\
examples:
  {prog}                                  in this terminal, until Ctrl-C
  eval "$({prog} --background)"           in the background; this shell's AWS clients talk to it
  {prog} --watch                          look at that one; Ctrl-C leaves it running
  {prog} --stop                           end that one
  eval "$({prog} --export 4566)"          talk to the one that serves at port 4566
  {prog} --scenario bad_day --seed 3      with interruptions, throttling, lost uploads, repeatably
  {prog} --time_scale 60                  two minutes of grace, of billing, of waiting in two seconds
  {prog} --audit audit.jsonl              every call, transition, bill and fault, a line of JSON each

The actions may also be written as words: {prog} status, stop, clear, ...
docs/emulator.md tells what is emulated and how, docs/emulator_scenarios.md how to write a scenario.

exit codes: 0 fine (also after Ctrl-C), 2 wrong arguments, 3 no emulator there, 7 it does not answer
"""


class Action(StrEnum):
    """What the command is to do."""

    start = "start"
    background = "background"
    export = "export"
    watch = "watch"
    status = "status"
    stop = "stop"
    clear = "clear"


#: Arguments of an emulator that is started, by their defaults.
DEFAULTS: dict[str, object] = {
    "port": 0,
    "state": None,
    "max_parallel_jobs": None,
    "isolation": "auto",
    "stop_grace_s": 120.0,
    "time_scale": 1.0,
    "scenario": "calm",
    "seed": 0,
    "audit": None,
}


class Parser(argparse.ArgumentParser):
    """Complains through SpecError."""

    def error(self, message: str) -> NoReturn:
        hint = f"{self.prog} --help explains all arguments."
        unknown = message.removeprefix("unrecognized arguments: ").split()
        if unknown and unknown[0] != message.split()[0]:
            known = [option for action in self._actions for option in action.option_strings]
            near = difflib.get_close_matches(unknown[0].partition("=")[0], known, n=1)
            hint = f"Did you mean {near[0]}? {hint}" if near else hint
        raise SpecError(f"{self.prog}: {message}", hint)


def parse(arguments: Sequence[str], prog: str) -> argparse.Namespace:
    """The options, among them ``action``. Ends the process after ``--help``.

    Raises:
        SpecError: They make no sense.
    """
    given = list(arguments)
    if given and not given[0].startswith("-"):
        words = [action.value for action in Action]
        if given[0] not in words:
            raise SpecError(f"{prog}: unknown action {given[0]!r}.", f"Valid: {', '.join(words)}.")
        given[:1] = [] if given[0] == Action.start else [f"--{given[0]}"]
    options = _parser(prog).parse_args(given)
    values = {action: getattr(options, action, None) for action in Action}
    # --watch without a port is 0, which equals False.
    asked = (action for action, value in values.items() if value is not None and value is not False)
    options.action = next(asked, Action.start)
    _check(options, prog)
    return options


def chosen(options: argparse.Namespace) -> dict[str, object]:
    """The arguments of an emulator that differ from their defaults."""
    return {name: getattr(options, name) for name, value in DEFAULTS.items() if getattr(options, name) != value}


def _check(options: argparse.Namespace, prog: str) -> None:
    names = [*chosen(options), *(["idle_s"] if options.idle_s is not None else [])]
    if options.action not in (Action.start, Action.background) and names:
        raise SpecError(
            f"{prog}: --{names[0]} is for an emulator that is started, not for --{options.action}.",
            "Leave it out.",
        )
    if options.idle_s is not None and not options.idle_s > 0:
        raise SpecError(f"{prog}: --idle_s {options.idle_s} is out of range.", "Give seconds, more than 0.")
    if options.proxy and options.action in (Action.watch, Action.status, Action.stop, Action.clear):
        raise SpecError(f"{prog}: --proxy changes what is exported; --{options.action} exports nothing.")
    port = options.export if options.action is Action.export else options.watch
    if port is not None and not 0 <= port <= 65535:
        raise SpecError(f"{prog}: {port} is no port.", "Give 1 to 65535.")


def _parser(prog: str) -> Parser:
    parser = Parser(
        prog=prog,
        usage="%(prog)s [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG.format(prog=prog),
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument_group("how it behaves").add_argument
    add("--port", type=int, metavar="N", help="port on 127.0.0.1 (default: a free one)")
    add(
        "--state",
        type=Path,
        metavar="DIR",
        help="folder that keeps S3, logs and jobs over restarts (default: none)",
    )
    add("--max_parallel_jobs", type=int, metavar="N", help="jobs at once, others wait (default: half the cores)")
    add("--isolation", choices=CHOICES, help="how jobs get a private /opt/ml (default: auto, the strongest here)")
    add("--stop_grace_s", type=float, metavar="S", help="service seconds from SIGTERM to SIGKILL (default: 120)")
    add("--time_scale", type=float, metavar="X", help="how much faster the service's time passes (default: 1)")
    add("--scenario", metavar="WHAT", help="what goes wrong: calm (default), realistic, bad_day, or a JSON file")
    add("--seed", type=int, metavar="N", help="of the scenario's draws (default: 0)")
    add("--audit", type=Path, metavar="FILE", help="append what happens, as JSON lines (also in DIR/audit.jsonl)")
    add("--idle_s", type=float, metavar="S", help="end after so many seconds without a request or a job")
    add("--proxy", action="store_true", help="export a proxy, for the SageMaker SDKs: they insist on AWS's hosts")
    parser.set_defaults(**DEFAULTS)
    add = parser.add_argument_group("one in the background").add_mutually_exclusive_group().add_argument
    add("--background", action="store_true", help="start it unless it runs; print the variables to export")
    add("--export", type=int, nargs="?", const=0, metavar="PORT", help="print its variables, or those of PORT's")
    add("--watch", type=int, nargs="?", const=0, metavar="PORT", help="show what it does, or what PORT's does")
    add("--status", action="store_true", help="show facts about it")
    add("--stop", action="store_true", help="end it, with all its jobs; the next one has its buckets and logs")
    add("--clear", action="store_true", help="end it, and remove all that it has kept")
    parser.add_argument("--record", type=Path, help=argparse.SUPPRESS)  # of the daemon
    parser.add_argument("--ready_fd", type=int, help=argparse.SUPPRESS)
    return parser
