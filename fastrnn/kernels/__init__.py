"""Everything that is compiled: matrix products, cells, layers, passes over batches, for CPUs and for NVIDIA GPUs."""
