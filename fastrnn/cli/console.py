"""What commands have in common: what they print and where, exit statuses, files to write."""

import errno
import math
import shutil
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

from ..output_files import WINDOWS, destination

# Exit statuses besides parser.ERROR; the last three as shells have them, 128 and the signal.
OK, DIVERGED, INTERRUPTED, EXIT_SIGPIPE, TERMINATED = 0, 1, 130, 141, 143


def print_result(line):
    """Print a result on standard output."""
    print(line, flush=True)


def print_nothing(line):
    """Take the place of `print_result` where nothing is to be printed."""


def log_line(line):
    """Print what is no result to standard error: on a line of its own, also while a progress bar is shown."""
    bars = nullcontext()
    if "tqdm" in sys.modules:
        from tqdm import tqdm

        bars = tqdm.external_write_mode(sys.stderr)
    with bars:
        print(line, file=sys.stderr, flush=True)


def fail(message, status):
    """Log why there is no result; returns the exit status."""
    log_line(f"fastrnn: {message}")
    return status


def format_error(error):
    """One line of an error."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def program_name():
    """The program name of this process: `fastrnn`, a path to it, or `python -m fastrnn`."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{Path(sys.executable).name} -m fastrnn"
    return "fastrnn" if called.stem != "fastrnn" or shutil.which("fastrnn") == str(called.resolve()) else str(called)


def count(n, thing):
    return f"{n:,} {thing}{'' if n == 1 else 's'}"


def count_weights(model):
    return sum(array.size for array in model.params_.values())


def perplexity(loss):
    return math.exp(loss) if loss < 700 else math.inf


def best(model):
    """Which epoch's weights a model has, if not the last one's."""
    epoch = model.history_.best_epoch
    return "" if epoch in (None, model.n_epochs_) else f", as it was after {count(epoch, 'epoch')}"


def check_writable(output):
    """The path of a file that can be written: better known before the training than after it."""
    path = Path(output)
    target = destination(path)
    if target is None:  # a device or the like, which is written into
        return path
    folder = target.parent if path.is_symlink() else path.parent
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such directory, {path.name} cannot be saved there")
    try:
        with tempfile.TemporaryFile(dir=folder):
            return path
    except OSError as error:
        raise ValueError(f"{folder}: {path.name} cannot be saved there ({format_error(error)})") from None


def is_closed_pipe(error):
    """Whether an OSError says that the reader of standard output has gone: Windows calls that an invalid argument."""
    named_no_file = WINDOWS and error.errno == errno.EINVAL and error.filename is None
    return isinstance(error, BrokenPipeError) or named_no_file
