"""Command lines of training scripts."""

from __future__ import annotations

import argparse

import pytest
from config_space_strategies import spaces
from hypothesis import given, settings

from cloudtune import config_space as cs


def parser_for(space):
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    cs.add_to_argparse(parser, space)
    return parser


def parse(space, *words):
    return vars(parser_for(space).parse_args(words))


@pytest.mark.parametrize("text", ["False", "false", "0", "no"])
def test_false_is_false(text):
    space = {"flag": cs.choice([True, False]), "constant": True}
    assert parse(space, "--flag", text, "--constant", text) == {"flag": False, "constant": False}
    assert parse(space, "--flag", "True") == {"flag": True, "constant": True}


@pytest.mark.parametrize(
    ("domain", "text", "value"),
    [
        (cs.uniform(0, 1), "1e-1", 0.1),
        (cs.uniform(0, 1), "7", 7.0),  # by hand, outside
        (cs.randint(0, 9), "3", 3),
        (cs.choice([0.1, 0.01]), "0.01", 0.01),
        (cs.choice(["1", "2"]), "1", "1"),
        (cs.choice([32, 64]), "48", 48),
        (cs.choice(["auto", 3, 0.5, False, None]), "3", 3),
        (cs.choice(["auto", 3, 0.5, False, None]), "0.5", 0.5),
        (cs.choice(["auto", 3, 0.5, False, None]), "False", False),
        (cs.choice(["auto", 3, 0.5, False, None]), "auto", "auto"),
        (cs.logfinrange(1, 8, 4, cast_int=True), "4", 4),
        ("text", "other", "other"),
        (3, "4", 4),
        ([1, 2], "[3]", [3]),
        ({"a": 1}, '{"b": 2}', {"b": 2}),
        (None, "None", None),
        (None, "3", 3),
    ],
)
def test_texts_become_typed_values(domain, text, value):
    parsed = parse({"x": domain}, "--x", text)["x"]
    assert parsed == value and type(parsed) is type(value)


def test_domains_are_required_and_constants_have_defaults():
    with pytest.raises((SystemExit, argparse.ArgumentError)):
        parse({"x": cs.uniform(0, 1)})
    assert parse({"x": 3, "y": [1]}) == {"x": 3, "y": [1]}
    assert parse({"x": cs.choice([None, 0.1])}) == {"x": None}


@pytest.mark.parametrize(
    ("domain", "text", "words"),
    [
        (cs.choice([True, False]), "maybe", "true"),
        (cs.choice(["auto", 3]), "4", r"one of \['auto', 3\]"),
        ([1], "[", "JSON"),
        (cs.randint(0, 3), "x", "invalid int"),
    ],
)
def test_bad_texts_are_refused(domain, text, words):
    with pytest.raises(argparse.ArgumentError, match=words):
        parse({"x": domain}, "--x", text)


def test_help_shows_the_valid_values():
    text = parser_for({"x": cs.choice(["100%", "50%"]), "lr": cs.loguniform(1e-3, 1), "n": 3}).format_help()
    words = " ".join(text.split())
    assert "one of ['100%', '50%']" in words and "float in [0.001, 1.0], log scale" in words
    assert "default: 3" in words


@settings(max_examples=100, deadline=None)
@given(spaces)
def test_a_configuration_survives_its_command_line(space):
    space = {key.replace("-", "_"): value for key, value in space.items()}
    config = cs.impute_points_to_evaluate(None, space)[0]
    # lists and dictionaries come as JSON, None is left out: as the backends do
    words = [
        f"--{key}={value}"
        for key, value in config.items()
        if isinstance(value, (str, int, float)) and value is not None
    ]
    parsed = parse(cs.normalise_config_space(space), *words)
    assert {key: repr(value) for key, value in parsed.items()} == {key: repr(v) for key, v in config.items()}
