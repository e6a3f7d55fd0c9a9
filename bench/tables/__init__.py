"""The tables of `python -m bench`, a module each.

A table has TITLE, `measure(options)` that returns its figures for results.json, `lines(figures)` that returns its part
of RESULTS.md, and, where it has plots, `draw(figures, plots)`. Not tables: `ceiling`, the machine's rates that figures
are compared with, and `start_child`, the process that table `start` times.
"""
