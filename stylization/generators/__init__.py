"""Networks that repaint a photograph in one pass; each is handed its norm."""

from stylization.generators.johnson import Johnson
from stylization.generators.pyramid import Pyramid

__all__ = ["Johnson", "Pyramid"]
