"""The commands `translate-train` and `translate`: pairs of texts to a Translator, and texts to their translations."""

import inspect
import re
from itertools import islice

from ..training.interruption import sigterm_interrupts
from .console import OK, count, log_line, print_nothing, print_result, program_name
from .parameter_options import given
from .train import HeldOut, checked_output, learn, training_parameters

_MOST_TRANSLATED = 500  # sources of what is held out, for BLEU
_LINES_AT_ONCE = 256
_HARMLESS = re.compile(r"[\w ,.?'-]+")  # what every shell takes as it stands between double quotes


@sigterm_interrupts()
def translate_train(args):
    from ..estimators.pair_texts import indices
    from ..estimators.translator import Translator
    from ..text.hold_out import hold_out_pairs

    output, parameters = checked_output(args, "Seq2Seq checkpoint"), training_parameters(args)
    report = print_nothing if args.quiet else print_result
    translator = Translator(**parameters, verbose=int(not args.quiet))
    vocabularies, model = translator._build()  # their checks come before the reading
    learned, kept = hold_out_pairs(_read_pairs(args), args.held_out, translator.lowercase)
    report(f"{count(len(learned), 'pair')} to learn from")
    data = []
    for side, vocabulary, texts in zip(("source", "target"), vocabularies, zip(*learned, strict=True), strict=True):
        data.append(indices(vocabulary.fit_transform, texts, side))
        report(f"{side.capitalize()}: " + f"\n{'':8}".join(vocabulary.report().splitlines()))
    if args.held_out and not kept:
        log_line("nothing is held out: there are too few different sources")
    model.set_params(source_vocab_size=len(vocabularies[0]), target_vocab_size=len(vocabularies[1]))
    (translator.source_vocabulary_, translator.target_vocabulary_), translator.model_ = vocabularies, model
    status = learn(translator, data, _held_out(vocabularies, kept), output, report, args.resume)
    if status == OK and not args.quiet:
        _print_bleu(translator, kept)
        print(f"Let it translate: {program_name()} translate {output} {_example(kept or learned)}")
    return status


def translate(args):
    from ..estimators.load import load
    from ..estimators.translator import Translator, check_same_vocabularies
    from ..text.unknown_words import UnknownWords
    from ..validation import check_choice

    if not args.input and not args.text:
        raise ValueError("found nothing to translate, expected an INPUT or --text TEXT")
    check_choice("unknown", args.unknown, ("token", "error"))
    translator, *others = (load(path, "Translator", device=args.device) for path in (args.model, *args.ensemble))
    for path, other in zip(args.ensemble, others, strict=True):
        check_same_vocabularies(translator, other, path)
    options = given(args, inspect.signature(Translator.translate).parameters)
    options |= {"n_best": options.get("n_best", 1), "ensemble": others}
    del options["unknown"]
    oov, lines, done = UnknownWords(), _lines(args), 0
    while block := list(islice(lines, _LINES_AT_ONCE)):
        if args.unknown == "error":
            _refuse_unknown(translator.source_vocabulary_, block)
        found = iter(())
        if texts := [text for _, text in block if text.strip()]:
            source, unknown = translator.encode_sources(texts, "texts")
            oov.update(unknown)
            found = iter(translator.translate_encoded(source, **options))
        for number, (_, text) in enumerate(block, done + 1):
            if not text.strip():
                print()  # nothing shifts
                continue
            for translation, score in next(found):
                print(_row(args, number, score, translation))
        done += len(block)
    oov.log()
    return OK


def _read_pairs(args):
    """All (source, target) that the arguments name."""
    from ..text.files import read_pairs, read_parallel

    if args.input and (args.source or args.target):
        raise ValueError("found a file of pairs and --source or --target, expected one or the other")
    if args.input:
        return [pair for path in args.input for pair in read_pairs(path, args.encoding)]
    if not args.source or not args.target:
        raise ValueError("found no pairs, expected a file PAIRS, or --source FILE and --target FILE")
    return read_parallel(args.source, args.target, args.encoding)


def _held_out(vocabularies, kept):
    """The pairs held out as `HeldOut`, None if there are none."""
    from ..estimators.pair_texts import indices

    if not kept:
        return None
    source, target = (
        indices(vocabulary.transform, texts, "held_out")
        for vocabulary, texts in zip(vocabularies, zip(*kept, strict=True), strict=True)
    )
    tokens = target.values.size + len(target)  # SENTENCE_END counts
    unknown = (target.values == len(vocabularies[1]) - 1).sum() / tokens
    return HeldOut((source, target), f"{count(len(kept), 'pair')}, {count(tokens, 'token')}, {unknown:.1%} unknown")


def _print_bleu(translator, kept):
    """BLEU of greedy translations of the held-out sources, at most `_MOST_TRANSLATED` from all over."""
    from ..estimators.bleu import signature

    references = {}
    for source, target in kept:
        references.setdefault(source, []).append(target)
    n = min(len(references), _MOST_TRANSLATED)
    if n:
        sources = list(references)
        chosen = [sources[i * len(sources) // n] for i in range(n)]
        rows = [references[source] for source in chosen]
        bleu, measure = translator.score(chosen, rows), signature(rows, translator.lowercase)
        of = f"{count(n, 'source')}, {count(sum(map(len, rows)), 'reference')}"
        print_result(f"Held out, greedy translations: BLEU {bleu:.1f} of 100 ({of}; {measure})")


def _example(pairs):
    """Arguments with which a translation can be tried."""
    source = next((source for source, _ in pairs if _HARMLESS.fullmatch(source)), None)
    return "-" if source is None else f'--text "{source}"'


def _lines(args):
    """Yield (position, text) of every line to translate."""
    from ..text.files import read_lines

    for number, text in enumerate(args.text, 1):
        yield f"--text {number}", text
    for path in args.input:
        for number, line in enumerate(read_lines(path, args.encoding), 1):
            yield f"{path} line {number}", line


def _refuse_unknown(vocabulary, block):
    """ValueError if lines have unknown words."""
    for position, text in block:
        _, found = vocabulary.encode_prompt(text)
        if found:
            raise ValueError(
                f"{position}: found {', '.join(map(repr, found))}, expected words of the vocabulary; --unknown token"
                " takes them for UNKNOWN_TOKEN"
            )


def _row(args, number, score, translation):
    if "n_best" in args:
        return f"{number}\t{score:.4f}\t{translation}"
    return f"{score:.4f}\t{translation}" if args.scores else translation
