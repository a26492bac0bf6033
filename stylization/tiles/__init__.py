"""A picture of any size, repainted part by part with the statistics of the whole.

Cut into tiles, a picture shows seams: a generator's norms take each tile's statistics for the picture's. Here they are
gathered over all tiles first. Norm after norm needs a pass over the picture; what a pass would have to compute anew is
kept on the disk where reading is cheaper than computing, mostly the activations at reduced resolution. Tiles overlap
by as much as the convolutions see, so what comes out is the untiled result up to rounding.
"""

from stylization.tiles.painting import Tiled, tiled_cost, untiled_bytes

__all__ = ["Tiled", "tiled_cost", "untiled_bytes"]
