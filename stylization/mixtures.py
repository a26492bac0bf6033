"""Mixtures of styles as text, `mosaic=0.6,ink=0.4`: the same on the command line and in the API.

Imports no PyTorch: exported models are applied without it.
"""

import re

from stylization.errors import InputError


def shares(text: str) -> dict[str, str | None]:
    """Return the share of each style as it is written, a number or a mask's file; None for a style that has none.

    Raises `InputError`.
    """
    written: dict[str, str | None] = {}
    for part in text.split(","):
        name, equals, share = (word.strip() for word in part.partition("="))
        if not name or name in written or (equals and not share):
            raise InputError(f"{text[:200]!r}: write it as mosaic=0.6,ink=0.4, each style once")
        written[name] = share if equals else None
    return written


def is_number(share: str) -> bool:
    """Return whether a share is a number rather than a mask's file."""
    return bool(re.fullmatch(r"-?(\d+\.?\d*|\.\d+)", share, re.ASCII))
