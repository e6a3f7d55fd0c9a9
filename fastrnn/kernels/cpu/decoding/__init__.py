"""Sampling, the k most probable words, beam search."""
