"""BLEU (Papineni et al. 2002) of translations that are tokens already, with the numbers that sacrebleu gives them."""

import math
from collections import Counter

ORDERS = range(1, 5)


def bleu(references, hypotheses):
    """BLEU of a corpus, from 0 to 100.

    It is what sacrebleu computes with ``tokenize="none"`` and its defaults otherwise: n-grams of one to four tokens;
    the length of the nearest reference, of two the shorter; the k-th order of which none matches counts as
    1 / 2 ** k matches; 0 if no token matches, or if no hypothesis has four tokens.

    Parameters
    ----------
    references : list, one per hypothesis, of lists of references, at least one, each a list of tokens
    hypotheses : list of lists of tokens

    Returns
    -------
    float
    """
    matches, totals = Counter(), Counter()
    length = reference_length = 0
    for row, hypothesis in zip(references, hypotheses, strict=True):
        length += len(hypothesis)
        reference_length += min(map(len, row), key=lambda n: (abs(n - len(hypothesis)), n))
        for order in ORDERS:
            counts, most = _ngrams(hypothesis, order), Counter()
            for reference in row:
                most |= _ngrams(reference, order)
            matches[order] += (counts & most).total()
            totals[order] += counts.total()
    if not any(matches.values()) or not all(totals[order] for order in ORDERS):
        return 0.0
    logarithms, least = [], 1.0
    for order in ORDERS:
        least /= 1 if matches[order] else 2
        logarithms.append(math.log((matches[order] or least) / totals[order]))
    brevity = min(0.0, 1 - reference_length / length)
    return 100 * math.exp(brevity + sum(logarithms) / len(logarithms))


def signature(references, lowercase):
    """What was measured, as sacrebleu writes it: numbers of references, case, tokens as they are, smoothing."""
    counts = {len(row) for row in references}
    return "|".join([
        f"nrefs:{counts.pop() if len(counts) == 1 else 'var'}", f"case:{'lc' if lowercase else 'mixed'}", "eff:no",
        "tok:none", "smooth:exp",
    ])  # fmt: skip


def _ngrams(tokens, order):
    """How often every sequence of `order` tokens occurs: a Counter of tuples."""
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))
