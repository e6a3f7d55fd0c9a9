"""Sampling and beam search over networks."""
