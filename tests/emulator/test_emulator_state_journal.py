"""The file that keeps documents: what was applied is there, however its writer ended."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtune.emulator.state import journal as module
from cloudtune.emulator.state.journal import Journal
from cloudtune.errors import StoreError

texts = st.text(st.characters(), max_size=4)  # lone surrogates, line ends and all
documents = st.dictionaries(texts, st.one_of(st.integers(), texts, st.none(), st.lists(texts)), max_size=3)
changes = st.dictionaries(st.tuples(texts, texts), st.none() | documents, max_size=3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(changes, st.sampled_from(["reopen", "torn", "rewrite"])), max_size=12))
def test_it_is_a_dictionary_that_lasts(steps: list[dict | str]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        journal, model = Journal(path), {}
        for step in steps:
            if isinstance(step, dict):
                journal.apply(step)
                for key, document in step.items():
                    if document is None:
                        model.pop(key, None)
                    else:
                        model[key] = document
                continue
            if step == "rewrite":
                journal._rewrite()
                continue
            journal.close()
            if step == "torn":  # killed in the middle of a line that nobody was told of
                with path.open("ab") as file:
                    file.write(b'[["x", "y"], {"half')
            journal = Journal(path)
        assert list(journal.items()) == list(model.items())
        assert journal.all_keys() == list(model) and all(key in journal for key in model)
        journal.close()


def test_what_is_said_already_is_not_written_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.apply({("a",): {"x": 1}, ("b",): None})
    before = journal._path.read_bytes()
    journal.apply({("a",): {"x": 1}, ("b",): None})
    assert journal._path.read_bytes() == before == b'[["a"], {"x": 1}]\n'


def test_it_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SPARE_BYTES", 1000)
    journal = Journal(tmp_path / "journal")
    journal.apply({("kept",): {"x": "y" * 100}})
    for number in range(500):
        journal.apply({("hot",): {"number": number}})
    assert journal._path.stat().st_size < 2000
    journal.close()
    assert dict(Journal(tmp_path / "journal").items()) == {("kept",): {"x": "y" * 100}, ("hot",): {"number": 499}}


def test_a_failed_write_changes_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.apply({("a",): {"x": 1}})
    journal.close()
    with pytest.raises(OSError, match="closed"):
        journal.apply({("a",): {"x": 2}})
    assert dict(journal.items()) == {("a",): {"x": 1}}


@pytest.mark.parametrize("line", ["{}", "nonsense", "[1, {}]", "[]", ""])
def test_damage_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "journal"
    path.write_text(f"{json.dumps([['a'], {}])}\n{line}\n{json.dumps([['b'], {}])}\n")
    with pytest.raises(StoreError, match=r"Line 2 of .*journal is damaged"):
        Journal(path)
    assert path.read_text().count("\n") == 3  # left as it is
