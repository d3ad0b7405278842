"""Arguments of training scripts, from both ends: words of a command, booleans, configurations as a JSON file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloudtune.constants import ST_CONFIG_JSON_FNAME_ARG
from cloudtune.errors import SpecError

_BOOLS = dict.fromkeys(("true", "t", "yes", "y", "1"), True) | dict.fromkeys(("false", "f", "no", "n", "0"), False)


def parse_bool(value: str | bool) -> bool:
    """For ``parser.add_argument(..., type=parse_bool)``: a plain ``type=bool`` takes "False" for True.

    Raises:
        argparse.ArgumentTypeError: Not one of true, t, yes, y, 1, false, f, no, n, 0 (case does not matter).
    """
    if isinstance(value, bool):
        return value
    try:
        return _BOOLS[value.strip().lower()]
    except (KeyError, AttributeError):
        raise argparse.ArgumentTypeError(f"{value!r} is no boolean: use one of {', '.join(_BOOLS)}") from None


def add_config_json_to_argparse(parser: argparse.ArgumentParser) -> None:
    """Adds the argument that a backend with ``pass_args_as_json=True`` sends instead of the configuration."""
    parser.add_argument(
        f"--{ST_CONFIG_JSON_FNAME_ARG}",
        type=str,
        default=None,
        help="JSON file that holds the configuration",
    )


def load_config_json(args: argparse.Namespace | Mapping[str, Any]) -> dict[str, Any]:
    """The configuration: ``args`` (as parsed, or as a dict), overridden by the JSON file that they name, if any.

    Raises:
        SpecError: The file cannot be read, or holds no JSON object.
    """
    config = dict(vars(args) if isinstance(args, argparse.Namespace) else args)
    name = config.pop(ST_CONFIG_JSON_FNAME_ARG, None)
    if name is None:
        return config
    try:
        loaded = json.loads(Path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(
            f"--{ST_CONFIG_JSON_FNAME_ARG}: cannot read a configuration from {name!r}: {error}",
            "Give a file that holds a JSON object. A backend writes it with pass_args_as_json=True.",
        ) from error
    if not isinstance(loaded, dict):
        raise SpecError(
            f"--{ST_CONFIG_JSON_FNAME_ARG}: {name!r} holds {type(loaded).__name__}, not a JSON object.",
            'Give a file such as {"lr": 0.1, "epochs": 27}.',
        )
    return {**config, **loaded}


def argument_words(values: Mapping[str, Any]) -> list[str]:
    """``--{name} {value}`` for each of ``values``, which are of kinds that JSON knows. None is left out: a command
    line has no word for it."""
    words: list[str] = []
    for name, value in values.items():
        if value is None:
            continue
        word = as_word(value)
        # argparse takes a word that begins with a hyphen (-1e-05) for an option, unless it is joined to its own
        words += [f"--{name}={word}"] if word.startswith("-") else [f"--{name}", word]
    return words


def as_word(value: Any) -> str:
    """``value`` as scripts parse it: booleans as True and False, lists and dicts as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, (list, dict)) else str(value)
