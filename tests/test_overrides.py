"""What is written as an override is read by Hydra as it was."""

import math
import string

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from stylization.errors import InputError
from stylization.overrides import assigned, check_key, check_value, check_word, quote

PARSER = OverridesParser.create()
TRICKY = st.text(alphabet="${}[](),:=\\'\" \t\n~+-.#?%@/&*é∂\u202e1eE_" + string.ascii_letters, max_size=30)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TRICKY | st.text(max_size=20)
KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(
    lambda key: key not in ("null", "true", "false", "nan", "inf")
)
VALUES = st.recursive(SCALARS, lambda x: st.lists(x, max_size=4) | st.dictionaries(KEYS, x, max_size=3), max_leaves=8)


def plain(value: object) -> object:
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    return value


def same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other


@given(VALUES)
def test_hydra_reads_the_value_that_was_quoted(value: object) -> None:
    override = PARSER.parse_override(assigned("some.key", value))
    assert not override.is_sweep_override()
    node = OmegaConf.create({"some": {"key": plain(override.value())}})
    read = OmegaConf.to_container(node, resolve=True)
    assert isinstance(read, dict) and same(read["some"]["key"], value)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "null"),
        ("mosaic", "mosaic"),
        ("photos/a-b.jpg", "photos/a-b.jpg"),
        ("null", "'null'"),
        ("True", "'True'"),
        ("1e3", "'1e3'"),
        (0.1, "0.1"),
        (["mosaic", "ink"], "[mosaic,ink]"),
        ("a=b,c", "'a=b,c'"),
    ],
)
def test_plain_words_stay_plain(value: object, written: str) -> None:
    assert quote(value) == written


@pytest.mark.parametrize("value", [object(), b"x", {1: 2}, {"a b": 1}, {"null": 1}])
def test_what_hydra_cannot_be_given_is_rejected(value: object) -> None:
    with pytest.raises(InputError, match="cannot be"):
        quote(value)


@pytest.mark.parametrize(
    "key",
    [
        *(
            "_target_",
            "data.source._target_",
            "+data._args_",
            "hydra.run.dir",
            "hydra/launcher",
            "+hydra",
            "++hydra.job.x",
        ),
        *("a=b", "a b", "", "${x}", "a.${x}", "~norm", "a..b", "a\nb", "data@_global_", "trainer._recursive_"),
    ],
)
def test_no_file_may_set(key: str) -> None:
    with pytest.raises(InputError, match="cannot be a parameter"):
        check_key(key)


@pytest.mark.parametrize(
    "value",
    [
        *("${oc.env:HOME}", {"a": "${x}"}, ["${x}"], {"_target_": "os.system"}, {"a": [{"_target_": "x"}]}),
        *({"hydra": 1}, float("nan"), float("inf"), {"a": object()}, "x" * 5000, "a\0b"),
    ],
)
def test_no_file_may_give(value: object) -> None:
    with pytest.raises(InputError):
        check_value("data.x", value)


@pytest.mark.parametrize(
    "word",
    [
        "a._target_=x",
        "hydra.run.dir=x",
        "a=${x}",
        "a='${x}'",
        "a={_target_:x}",
        "a=1,2",
        "~a=1",
        "a=choice(1,2)",
        "a=[",
    ],
)
def test_words_of_a_command_are_checked_too(word: str) -> None:
    with pytest.raises(InputError):
        check_word(word)
    check_word("logger=wandb")
