"""Fast neural style transfer, and the norm that makes it work.

A generator (with a chosen norm) repaints content photographs; a frozen loss network looks at the result; an
objective compares what it sees with the content photograph and with one style image. The modules read in that
order: images, content, normalization, generators, loss_networks, objective, training. `load` gives a trained
generator as a function from pictures to pictures.
"""

from typing import TYPE_CHECKING, Any

from stylization.errors import InputError

if TYPE_CHECKING:
    from stylization.stylizer import Stylizer, load

__all__ = ["InputError", "Stylizer", "load"]


def __getattr__(name: str) -> Any:
    # PyTorch takes seconds to import: a command that only prints its help must not wait for it.
    if name in ("Stylizer", "load"):
        from stylization import stylizer

        return getattr(stylizer, name)
    raise AttributeError(f"module 'stylization' has no attribute '{name}'")
