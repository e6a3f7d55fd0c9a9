"""Passes over batches on several threads, their workspace, the optimisers' update rules."""
