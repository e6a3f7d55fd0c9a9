"""Vector code, elementwise functions, packing, matrix products."""
