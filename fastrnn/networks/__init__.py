"""Weights by name, and passes over data, of a network or an encoder-decoder on a device."""
