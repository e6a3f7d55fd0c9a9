"""What the command `fastrnn plot` draws: pictures from model files, saved to a file, or printed to the terminal."""

from pathlib import Path

from ..output_files import replace_file
from .parameter_options import given

FORMATS = (".png", ".svg", ".pdf")
_DOTS_PER_INCH = 150


def checked_ending(output):
    """The path of a picture; ValueError unless its ending is that of a format."""
    ending = Path(output).suffix
    if ending.lower() not in FORMATS:
        raise ValueError(f"--output: found {output!r}, expected a file name that ends in {', '.join(FORMATS)}")
    return output


def draw(args, output):
    """Draw the picture that `args.picture` names into the file `output`.

    Returns
    -------
    list of str
        Lines to print: the picture itself where there is no `output`.
    """
    from ..estimators.load import load

    if output is None:
        from ..plotting.surprisal import surprisal_line

        return surprisal_line(load(args.model, "LanguageModel", device=args.device), args.text).splitlines()
    from ..plotting import plots

    _without_window()
    if args.picture == "losses":
        models = [load(path) for path in args.input]
        axes = plots.plot_losses(models, args.by, _names(args.input))
    else:
        plot = getattr(plots, f"plot_{args.picture}")
        axes = plot(load(args.model, "LanguageModel", device=args.device), args.text, **given(args, ("layer", "units")))
    figure = (axes[0] if isinstance(axes, list) else axes).figure
    with replace_file(output) as file:
        figure.savefig(file, format=Path(output).suffix[1:].lower(), dpi=_DOTS_PER_INCH)
    plots.pyplot().close(figure)
    return []


def _without_window():
    from ..plotting import plots

    plots.pyplot()  # an error if there is no matplotlib
    import matplotlib

    matplotlib.use("agg")


def _names(paths):
    """Short names of files, unless two are the same."""
    stems = [Path(path).stem for path in paths]
    return stems if len({*stems}) == len(paths) else paths
