"""How Numba compiles the kernels: flags, disk cache, inlining, calls through pointers."""
