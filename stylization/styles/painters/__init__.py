"""Painters of the bundled style pictures: one module per style, with a function of the same name.

A painter takes the side of the picture in pixels and a random generator, and returns the picture (h, w, 3) in [0, 1].
Sizes are written in pixels of a picture of 640 px and multiplied by `unit`. What a generator learns from a picture are
statistics over all of it, so a painter covers the whole picture evenly, with shapes of about 1/12 to 1/4 of its side,
clear contours, few colors of strong contrast in lightness, and no detail finer than about 6 px.
"""
