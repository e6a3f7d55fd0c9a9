"""Passes over batches on a team of threads, their workspace, the optimisers' update rules."""
