"""Table `gpu` as Markdown, and its plot."""

from .measure import median, ratios, spread

OURS, USUAL, TF32, CPU = "fastrnn", "PyTorch", "PyTorch, TF32", "fastrnn on the CPU"
TUTORIAL = 23  # milliseconds a step that the tutorial reports of its GPU

ABOUT = """
{gpu}

A round times every contestant of a row in turn, on the same ragged batches, and waits for the device; the figures are
medians of {repeats} rounds (lowest to highest) after a warm-up, a ratio is taken within a round. Both train with Adam
at 0.001 and clipping at 5. fastrnn computes in float32; its time is that of `partial_fit`, with its checks and the
forming and uploading of the batches. PyTorch's batches lie on the device beforehand. It is its usual form: Embedding
(C, H), nn.RNN, nn.LSTM or nn.GRU by cuDNN, Linear, cross_entropy, fused Adam; sequences of equal lengths as (T, B),
others as a PackedSequence; it never waits within an epoch. **TF32** lets it round what products and cuDNN multiply to
10 bits. fastrnn's Adam leaves rows of U alone whose words do not occur; PyTorch's updates all of its embedding.

**Floor, operations:** tokens a second if all operations, counted for all alike as 6 (C H + K) a token (K: entries of
the matrices between H units), ran at the rate of a large torch.mm in float32: {product:.1f} Tflop/s; with TF32
{product_tf32:.1f}. **Floor, bytes:** if all that a batch cost were Adam's reading and writing of V, those matrices and
their moments, at the rate measured on an array of their size; copying 1 GB runs at {copy:,.0f} GB/s, read and written.
**Of the nearer** is fastrnn's share of the nearer floor in float32.
""".strip()

ABOUT_SAME = """
The computation is the same: with TF32 off, on equal weights and one batch, the loss and every gradient of tanh network
and LSTM agree; the largest difference, relative to the largest entry of its array, is {same:.0e}. Our LSTM has
peepholes, zero in this check and trained in the timing. PyTorch's GRU resets after the product and ours before it:
alike in work, not comparable in value.
""".strip()

ABOUT_MEMORY = """
**Device memory**, MB at the peak of two epochs in float32, kernels already loaded: by how much the driver's free memory
fell, looked at every millisecond; for PyTorch also what its allocator gave out and held at most. PyTorch's has all
batches of the epoch in it, as int64.
""".strip()

ABOUT_SINGLE = """
**One sentence a step**, C = 8,000, H = 100, plain SGD without clipping: milliseconds a step. The tutorial's GPU took
{tutorial}.
""".strip()

ABOUT_SAMPLING = """
**Sampling {streams:,} streams** of {steps} tokens, C = 8,000, H = 100, tokens a second. PyTorch samples under
inference_mode, Embedding, one step, Linear, softmax, multinomial, with the faster of nn.RNNCell, nn.LSTMCell or
nn.GRUCell and nn.RNN, nn.LSTM or nn.GRU on one step; both end with the tokens on the host.
""".strip()

ABOUT_CROSSOVER = """
**CPU or GPU:** fastrnn on {threads} threads and on the GPU, GRU, C = 8,000, Adam, tokens a second.
""".strip()

ABOUT_PROFILE = """
**Where the time goes:** {title}, {cell}. A batch takes {batch:,.0f} µs and {launches:.1f} launches, of which one costs
the host {host:.1f} µs (median); its kernels take {device:,.0f} µs on the device, measured one by one in a slower pass.
What an epoch does at its beginning and end is divided among its batches.
""".strip()

HEAD = """
| cell | fastrnn, tokens/s | PyTorch | ratio | PyTorch, TF32 | ratio | target | floor, operations | TF32 | bytes | of the nearer |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|
""".strip()  # noqa: E501


def lines(figures):
    """The section as lines of Markdown."""
    rates = {name: figures["rates"][name] / 1e12 for name in ("product", "product_tf32")}
    out = ABOUT.format(**figures, **rates, copy=figures["rates"]["copy"] / 1e9).splitlines()
    rows = figures["training"]
    for title in dict.fromkeys(row["title"] for row in rows):
        out += ["", f"**{title}**", "", *HEAD.splitlines()]
        out += [training_line(row) for row in rows if row["title"] == title]
    same = max(row["same"] for row in rows if row["same"] is not None)
    out += ["", *ABOUT_SAME.format(same=same).splitlines(), "", *memory_lines(rows)]
    out += ["", *single_lines(figures["single"]), "", *sampling_lines(figures["sampling"])]
    out += ["", *ABOUT_CROSSOVER.format(**figures).splitlines(), "", *crossover_lines(figures["crossover"])]
    return [*out, "", *profile_lines(figures["profile"])]


def compared(timings, form="{:.2f}"):
    """Cells of the rates of PyTorch without and with TF32, each with our ratio to it."""
    cells = []
    for name in (USUAL, TF32):
        cells += [spread(timings[name]["rates"]), spread(ratios(timings[OURS], timings[name]), form)]
    return " | ".join(cells)


def training_line(row):
    """A cell's row of the first tables."""
    timings, floors = row["timings"], row["floors"]
    share = median(timings[OURS]) / min(floors["product"], floors["bytes"])
    limits = " | ".join(f"{floors[name]:,.0f}" for name in ("product", "product_tf32", "bytes"))
    ours = spread(timings[OURS]["rates"])
    return f"| {row['cell']} | {ours} | {compared(timings)} | {row['target']:g} | {limits} | {share:.0%} |"


def memory_lines(rows):
    out = [*ABOUT_MEMORY.splitlines(), ""]
    out += ["| workload | cell | fastrnn | PyTorch | allocated | held | below |", "|---|---|---:|---:|---:|---:|---|"]
    for row in rows:
        ours, theirs = row["memory"][OURS]["driver"], row["memory"][USUAL]
        sizes = " | ".join(f"{size:,.0f}" for size in (ours, *(theirs[n] for n in ("driver", "allocated", "reserved"))))
        out.append(f"| {row['title']} | {row['cell']} | {sizes} | {'yes' if ours < theirs['driver'] else '**no**'} |")
    return out


def single_lines(rows):
    names = (OURS, CPU, USUAL, TF32)
    out = [*ABOUT_SINGLE.format(tutorial=TUTORIAL).splitlines(), ""]
    out += [f"| cell | {' | '.join(names)} |", "|---|---:|---:|---:|---:|"]
    for row in rows:
        steps = [[1000 * row["tokens_a_step"] / rate for rate in row["timings"][name]["rates"]] for name in names]
        out.append(f"| {row['cell']} | {' | '.join(spread(values, '{:.2f}') for values in steps)} |")
    return out


def sampling_lines(rows):
    out = [*ABOUT_SAMPLING.format(**rows[0]).splitlines(), ""]
    out += ["| cell | fastrnn | PyTorch | ratio | PyTorch, TF32 | ratio |", "|---|---:|---:|---:|---:|---:|"]
    return out + [f"| {r['cell']} | {spread(r['timings'][OURS]['rates'])} | {compared(r['timings'])} |" for r in rows]


def crossover_lines(rows):
    out = ["| batch | H | CPU | GPU | GPU over CPU | the faster |", "|---:|---:|---:|---:|---:|---|"]
    for row in rows:
        cpu, gpu = row["timings"][CPU], row["timings"][OURS]
        cells = [spread(cpu["rates"]), spread(gpu["rates"]), spread(ratios(gpu, cpu), "{:.2f}")]
        faster = "GPU" if median(gpu) > median(cpu) else "CPU"
        out.append(f"| {row['batch_size']} | {row['hidden_dim']} | {' | '.join(cells)} | {faster} |")
    return out


def profile_lines(profile):
    device = sum(count * each for count, each in profile["kernels"].values())
    out = [*ABOUT_PROFILE.format(**profile, device=device).splitlines(), ""]
    out += ["| kernel | launches a batch | µs each | share of the device's time |", "|---|---:|---:|---:|"]
    for name, (count, each) in sorted(profile["kernels"].items(), key=lambda item: -item[1][0] * item[1][1]):
        out.append(f"| {name} | {count:.1f} | {each:.1f} | {count * each / device:.0%} |")
    return out


def draw(figures, plots):
    """[(file, what it shows)]"""
    found = [
        (f"{row['cell']}, {row['title']}", ratios(row["timings"][OURS], row["timings"][USUAL]), row["target"])
        for row in figures["training"]
    ]
    plots.ratio_bars("gpu.svg", "Training on a GPU, tokens a second: fastrnn over PyTorch with cuDNN, float32", found)
    return [("gpu.svg", "Ratio of fastrnn's and PyTorch's training throughput on a GPU, by workload")]
