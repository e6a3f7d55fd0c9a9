"""Sequences of unequal length, and minibatches of them."""
