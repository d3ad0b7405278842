"""How every command of cloudtune ends: with a message that helps, and an exit code that means something."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from cloudtune.errors import CloudtuneError


def run_command(command: Callable[[], int | None]) -> int:
    """Runs ``command`` and returns the exit code: 0 or what it returned; that of a CloudtuneError, whose message
    is printed without a traceback; 130 after Ctrl-C."""
    try:
        return command() or 0
    except CloudtuneError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Interrupted. The same command continues where this one ended.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141


def configure_logging(verbose: bool) -> None:
    """Log lines of cloudtune on standard error; others from warnings on."""
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING, force=True
    )
    logging.getLogger("cloudtune").setLevel(logging.DEBUG if verbose else logging.INFO)
