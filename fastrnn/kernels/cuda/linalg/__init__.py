"""Tiled products, tensor cores, elementwise functions for a GPU."""
