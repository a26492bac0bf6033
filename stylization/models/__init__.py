"""The trained model that the package carries."""

from pathlib import Path

BUNDLED = Path(__file__).parent / "bundled.safetensors"
