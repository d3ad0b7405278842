"""Command-line arguments of a training script, from its search space."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from cloudtune.config_space.domain import Domain
from cloudtune.config_space.space import ConfigSpace, normalise_config_space
from cloudtune.errors import SpecError
from cloudtune.script_args import parse_bool


def add_to_argparse(parser: argparse.ArgumentParser, config_space: ConfigSpace) -> None:
    """Adds ``--{name}`` for every entry of the space, typed, with a help text.

    Domains are required, unless None is among their values (it is passed by leaving the argument out); constants
    have their value as default. Texts become what the tuner's configuration holds: booleans (``True``,
    ``false``, ``1``, ``no``, ...), the values of mixed choices, lists and dictionaries (as JSON). Numbers and
    strings outside of their domain are accepted, so that a script can be tried by hand.
    """
    for name, value in normalise_config_space(config_space).items():
        if isinstance(value, Domain):
            required = not value.is_valid(None)
            text = f"{value.domain_str} ({'required' if required else 'default: None'})"
            parser.add_argument(f"--{name}", type=_parser_for(value), required=required, help=_escape(text))
        else:
            text = f"constant of the search space (default: {value!r})"
            parser.add_argument(f"--{name}", type=_parser_of_constant(value), default=value, help=_escape(text))


def _escape(text: str) -> str:
    return text.replace("%", "%%")


def _parser_for(domain: Domain) -> Callable[[str], Any]:
    if domain.value_type is bool:
        return parse_bool
    if domain.value_type in (int, float, str):
        return domain.value_type

    def value_of_choice(text: str) -> Any:
        try:
            return domain.cast(text)
        except SpecError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is not {domain.domain_str}") from error

    return value_of_choice


def _parser_of_constant(value: Any) -> Callable[[str], Any]:
    if isinstance(value, bool):
        return parse_bool
    if isinstance(value, (int, float, str)):
        return type(value)
    return _json


def _json(text: str) -> Any:
    if text == "None":
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON: {error}") from error
