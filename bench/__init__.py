"""The benchmark: `python -m bench` from the repository's root; see `bench/__main__.py`."""
