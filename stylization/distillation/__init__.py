"""How the compact loss network is made from VGG-16.

Training and the iterative method follow the gradient of an objective over pixels. So the student is fitted to the
teacher's gradient, on the pictures that descent visits, and not to its features alone: a generator that descends
through a network that is blind to a texture is free to paint it.
"""

from stylization.distillation.training import distill

__all__ = ["distill"]
