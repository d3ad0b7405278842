"""Arguments of training scripts."""

from __future__ import annotations

import argparse
import json

import pytest

from cloudtune.errors import SpecError
from cloudtune.script_args import add_config_json_to_argparse, load_config_json, parse_bool


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    made.add_argument("--flag", type=parse_bool, default=False)
    made.add_argument("--lr", type=float, default=0.1)
    add_config_json_to_argparse(made)
    return made


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("True", True),
        ("true", True),
        ("1", True),
        ("YES", True),
        ("False", False),
        ("0", False),
        (" no ", False),
        ("t", True),
        ("Y", True),
        ("f", False),
        ("n", False),
    ],
)
def test_booleans(text, value):
    assert parse_bool(text) is value
    assert parser().parse_args(["--flag", text]).flag is value
    assert parse_bool(value) is value


@pytest.mark.parametrize("text", ["", "maybe", "2", None])
def test_no_booleans(text):
    with pytest.raises(argparse.ArgumentTypeError, match="no boolean"):
        parse_bool(text)


def test_argparse_shows_the_message(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["--flag", "maybe"])
    assert "'maybe' is no boolean: use one of true" in capsys.readouterr().err


def test_without_file():
    args = parser().parse_args(["--lr", "1"])
    assert load_config_json(args) == load_config_json(vars(args)) == {"flag": False, "lr": 1.0}


def test_the_file_overrides(tmp_path):
    file = tmp_path / "a b.json"
    file.write_text(json.dumps({"lr": 0.5, "text": 'x "ü" ', "epochs": 3}), encoding="utf-8")
    args = parser().parse_args(["--flag", "1", "--st_config_json_filename", str(file)])
    assert load_config_json(args) == {"flag": True, "lr": 0.5, "text": 'x "ü" ', "epochs": 3}


@pytest.mark.parametrize("content", [None, "", "{", "[1]", b"\xff"])
def test_a_wrong_file_is_refused(tmp_path, content):
    file = tmp_path / "config.json"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SpecError, match="st_config_json_filename"):
        load_config_json({"st_config_json_filename": str(file)})
