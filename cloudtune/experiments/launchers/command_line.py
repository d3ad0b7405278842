"""How every command of cloudtune ends: with a message that helps, and an exit code that means something."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence

from cloudtune.errors import CloudtuneError, StoreError

logger = logging.getLogger(__name__)

_INTERRUPTED = 130
_BROKEN_PIPE = 141


def run_command(command: Callable[[], int | None]) -> int:
    """Runs ``command`` and returns the exit code: 0 or what it returned; that of a CloudtuneError, whose message
    is printed without a traceback; 130 after Ctrl-C."""
    try:
        code = command() or 0
        sys.stdout.flush()
    except CloudtuneError as error:
        logger.debug("The error came from here.", exc_info=True)
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # Nobody reads on; the interpreter would complain when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except OSError as error:
        logger.debug("The error came from here.", exc_info=True)
        hint = "\n  -> Check that path, its permissions and the free space." if error.filename else ""
        print(f"error: {error}{hint}", file=sys.stderr)
        return StoreError.exit_code
    return code


def run_program(command: Callable[[Sequence[str]], int | None], argv: Sequence[str] | None) -> int:
    """:func:`run_command` of ``command(argv)``. Without ``argv``, the process's arguments are meant, and a failure
    ends the process: scripts written for Syne Tune do not look at what their last call returns.

    Raises:
        SystemExit: Without ``argv``, for an exit code other than 0.
    """
    code = run_command(lambda: command(list(sys.argv[1:] if argv is None else argv)))
    if code and argv is None:
        sys.exit(code)
    return code


def configure_logging(verbose: bool) -> None:
    """Log lines of cloudtune on standard error; others from warnings on. For people: the message, with its level
    if that is not INFO; ``verbose``: everything, with time and origin."""
    handler = _StandardError()
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s") if verbose else _ForPeople()
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("cloudtune").setLevel(logging.DEBUG if verbose else logging.INFO)


class _StandardError(logging.Handler):
    """In a terminal, writes to what ``sys.stderr`` is at that moment: a live view puts itself there, so that lines
    appear above it instead of tearing it apart."""

    def __init__(self) -> None:
        super().__init__()
        self._file = sys.stderr

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr if self._file.isatty() else self._file, flush=True)
        except (OSError, ValueError):  # closed, or a character that it cannot show: tuning goes on
            self.handleError(record)


class _ForPeople(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno == logging.INFO else f"{record.levelname.lower()}: {text}"
