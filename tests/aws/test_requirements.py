from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement as Reference
from packaging.specifiers import SpecifierSet

from cloudtune.aws.requirements import RequirementsText, merge_requirements
from cloudtune.aws.version_ranges import allows
from cloudtune.errors import SpecError


def merge(*texts: str) -> str:
    return merge_requirements([RequirementsText(f"file-{n}", text) for n, text in enumerate(texts)])


def test_merge() -> None:
    tuner = """\
# what the tuner needs
numpy>=1.26   # arrays
boto3 >= 1.34, <2
Typing_Extensions==4.12.0 ; python_version<'3.11'
"""
    script = """\
torch==2.13.0
numpy[dev,test]==2.1.0
fsspec[s3]
boto3<2
mine @ https://example.com/mine-1.0.tar.gz#egg=mine ; sys_platform == 'linux'
long==1.0 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
"""
    expected = """\
boto3<2,>=1.34
fsspec[s3]
long==1.0 --hash=sha256:aa --hash=sha256:bb
mine @ https://example.com/mine-1.0.tar.gz#egg=mine ; sys_platform == "linux"
numpy[dev,test]==2.1.0,>=1.26
torch==2.13.0
Typing_Extensions==4.12.0 ; python_version<"3.11"
"""
    assert merge(tuner, script) == expected
    assert merge(script, tuner) == expected
    assert merge(expected) == expected
    assert merge() == merge("# nothing\n\n") == ""


def test_includes_and_options(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "base.txt").write_text("numpy==2.1\n-r ../requirements.txt\n")  # a circle
    main = tmp_path / "requirements.txt"
    option = "--extra-index-url https://a.example/simple\n"
    main.write_text(f"{option}-r base/base.txt\n--requirement=more.txt\nscipy\n")
    (tmp_path / "more.txt").write_text(f"\ufeffpandas\n{option}")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.txt")}
    assert merge_requirements([main]) == f"{option}numpy==2.1\npandas\nscipy\n"
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.txt")} == before
    main.write_text("-r missing.txt\n")
    with pytest.raises(SpecError, match=r"missing.txt \(included by .*requirements.txt\)"):
        merge_requirements([main])
    with pytest.raises(SpecError, match="cannot be read"):
        merge_requirements([tmp_path / "absent.txt"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("torch==2.13.0", "torch==2.8.0"),
        ("torch==2.13.0", "\n\nTorch<2.13"),
        ("scikit-learn==1.4", "scikit_learn>=1.5"),
        ("a.b==1.2", "A-B!=1.2.0"),
        ("x==1.4.2", "x~=1.5"),
        ("x==1.4.2", "x==1.5.*"),
        ("x==2.1+cpu", "x==2.1+cu121"),
        ("x @ https://a/x.whl", "x @ https://b/x.whl"),
        ("x @ https://a/x.whl", "x==1"),
        ("x==1", "x==2 ; python_version < '3.12'"),
        ("--index-url https://a", "-i https://b"),
    ],
)
def test_conflicts_name_both_files_and_lines(one: str, other: str) -> None:
    line = other.count("\n") + 1
    for first, second, where in ((one, other, f"file-1:{line}"), (other, one, f"file-0:{line}")):
        with pytest.raises(SpecError) as caught:
            merge(first, second)
        assert where in caught.value.message
        assert ("file-0:1" if where.startswith("file-1") else "file-1:1") in caught.value.message


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x==2.1", "x==2.1.0"),
        ("x==2.1+cpu", "x==2.1"),
        ("x==1 ; python_version < '3.11'", "x==2 ; python_version >= '3.11'"),
        ("x==2.0rc1", "x>=1.9"),  # not for us to tell
        ("x==1.*", "x==1.4"),
        ("x>=1", "x<1"),  # nor ranges without a pin
    ],
)
def test_what_is_no_conflict(one: str, other: str) -> None:
    assert merge(one, other)


@pytest.mark.parametrize(
    "line",
    [
        "-e .",
        "--editable=git+https://x/y",
        "./wheels/x.whl",
        "/abs/x.whl",
        "../x",
        "-c constraints.txt",
        "x @ file:///home/me/x",
        "x @ ../x",
        "x=1",
        "x>=",
        "two words",
        "==1.0",
        "x==1,==2",
        "https://example.com/x.whl",
    ],
)
def test_lines_that_cannot_be_sent_are_named(line: str) -> None:
    with pytest.raises(SpecError, match="file-0:2"):
        merge(f"numpy\n{line}\n")


versions = st.lists(st.integers(0, 3), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))


@given(versions, st.sampled_from(["==", "!=", "<=", ">=", "<", ">", "~="]), versions, st.sampled_from(["", ".*"]))
@settings(max_examples=300)
def test_ranges_mean_what_packaging_says(version: str, operator: str, bound: str, star: str) -> None:
    if star and operator not in ("==", "!="):
        star = ""
    if operator == "~=" and "." not in bound:
        assert allows(version, (operator, bound)) is None
        return
    expected = SpecifierSet(f"{operator}{bound}{star}").contains(version)
    assert allows(version, (operator, bound + star)) == expected


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["numpy", "Num-Py", "torch", "a.b_c"]),
            st.sampled_from(["", "[x]", "[y,x]"]),
            st.sampled_from(["", ">=1.0", ">= 1.0, <3", "!=2.0"]),
            st.sampled_from(["", " ; python_version<'3.12'", "  # why"]),
        ).map("".join),
        max_size=8,
    )
)
@settings(max_examples=80)
def test_output_is_stable_and_readable_by_pip(lines: list[str]) -> None:
    text = merge("\n".join(lines))
    assert merge(text) == text
    assert merge("\n".join(lines), "\n".join(reversed(lines))) == merge("\n".join([*lines, *lines]))
    for line in text.splitlines():
        Reference(line)
    keys = [line.split("[")[0] for line in text.splitlines()]
    assert len(text.splitlines()) == len(set(text.splitlines())), keys
