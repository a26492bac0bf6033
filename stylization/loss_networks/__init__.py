"""Networks that look: image -> named features, frozen, with their own normalization and weights."""

from stylization.loss_networks.compact import compact
from stylization.loss_networks.vgg import vgg16, vgg19

__all__ = ["compact", "vgg16", "vgg19"]
