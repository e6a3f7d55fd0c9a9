"""The command `fastrnn`."""
