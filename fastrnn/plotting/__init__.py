"""Pictures of training and of what a model does with a text. They need matplotlib (`pip install matplotlib`)."""

from .plots import plot_gates, plot_hidden, plot_losses, plot_surprisal, surprisal_line

__all__ = ["plot_gates", "plot_hidden", "plot_losses", "plot_surprisal", "surprisal_line"]
