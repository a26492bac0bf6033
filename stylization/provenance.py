"""Which code made a result."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("stylization", "torch", "torchvision", "lightning", "hydra-core", "numpy", "pillow")


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that can change a result."""
    return {"python": platform.python_version()} | {package: version(package) for package in PACKAGES}


def git_revision() -> str | None:
    """The commit this package was run from, with "+" if files differ from it; None outside a git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40", "--dirty=+"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
