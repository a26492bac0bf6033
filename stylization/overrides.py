"""Values in Hydra's override grammar: one function writes them, for whatever hands settings to train.py."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from stylization.errors import InputError

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")  # needs no quotes, unless it means something else
_KEYWORDS = {"null", "true", "false", "nan", "inf"}
_KEY = re.compile(r"(\+\+?)?[A-Za-z_][A-Za-z0-9_-]*([./@:][A-Za-z0-9_][A-Za-z0-9_-]*)*")
_DICT_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def quote(value: Any) -> str:
    """A value as the right side of an override: Hydra reads from it what was given, of the same type.

    Takes null, booleans, numbers, strings, and lists and dicts of them. Raises `InputError` for anything else.
    """
    if value is None:
        return "null"
    if isinstance(value, bool | int | float):
        return str(value)  # True, 3, 1e-05, nan: all as Hydra and W&B write them
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{_dict_key(key)}:{quote(item)}' for key, item in value.items())}}}"
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return f"[{','.join(map(quote, value))}]"
    raise InputError(f"{value!r} cannot be a setting: give null, true, false, numbers, words, lists or dicts")


def assigned(key: str, value: Any) -> str:
    """An override that gives a setting this value."""
    return f"{key}={quote(value)}"


def _quoted(text: str) -> str:
    if _WORD.fullmatch(text) and text.lower() not in _KEYWORDS:
        return text
    # OmegaConf would interpolate ${...}; a backslash in front keeps it from that, and must itself be escaped.
    literal = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", text)
    return QuotedString(literal, Quote.single).with_quotes()


def _dict_key(key: Any) -> str:
    if not isinstance(key, str) or not _DICT_KEY.fullmatch(key) or key.lower() in _KEYWORDS:
        raise InputError(f"{key!r} cannot be the name of a setting: write it with letters, digits and '_'")
    return key


def check_key(key: str) -> None:
    """Raise `InputError` unless a file may set this: no `_target_` or other word of Hydra's, no setting of Hydra's own,
    no interpolation."""
    if not _KEY.fullmatch(key):
        raise InputError(f"'{key}' cannot be a parameter: write it as group or section.setting")
    parts = re.split(r"[./@:]", key.lstrip("+"))
    if parts[0] == "hydra" or any(part.startswith("_") for part in parts):
        raise InputError(f"'{key}' cannot be a parameter: a file may not set it")


def check_value(key: str, value: Any, left: int = 8) -> None:
    """Raise `InputError` unless a file may give this value: nothing but null, booleans, finite numbers, strings
    without interpolation, lists and dicts with names such as `check_key` takes."""
    if isinstance(value, str):
        if "${" in value:
            raise InputError(f"{key}={value}: interpolations are not allowed; write the value itself")
        if "\0" in value or len(value) > 4096:
            raise InputError(f"{key}: the text is too long, or holds a null character")
    elif isinstance(value, Mapping | list) and left:
        for name, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            if isinstance(name, str):
                check_key(name)
            check_value(f"{key}.{name}", item, left - 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{key}={value}: must be finite")
    elif not (value is None or isinstance(value, bool | int | float)):
        raise InputError(f"{key}={str(value)[:80]}: must be null, true, false, a number, a word, a list or a dict")
    try:
        quote(value)
    except InputError as error:
        raise InputError(f"{key}: {error}") from None


def check_word(word: str) -> None:
    """Raise `InputError` unless a file may put this override on the command line."""
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException:
        raise InputError(f"'{word}' cannot be read: write key=value") from None
    if override.is_sweep_override() or override.is_delete():
        raise InputError(f"'{word}': give one value")
    key = override.get_key_element()
    check_key(key)
    check_value(key, override.value())
