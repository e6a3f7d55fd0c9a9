"""Files that were changed: they load as something valid, or are refused in one line that names them. Nothing else."""

import io
import json
import math
import os
import tracemalloc
import zipfile

import numpy as np
import pytest
from helpers import raised, random_batch

from fastrnn import FastRNN, LanguageModel, storage
from fastrnn.estimators.load import load as load_any
from fastrnn.estimators.seq2seq import Seq2Seq
from fastrnn.estimators.translator import Translator
from fastrnn.training.checkpoint import generator_state

DATA = random_batch(9, [6, 5, 4, 3, 3, 1])
SMALL = dict(hidden_dim=3, max_epochs=0, batch_size=2, random_state=1, n_threads=1)
LAYERS = dict(cell="lstm", num_layers=2, embedding_dim=3)
TEXTS = ["Dr. Smith left. He saw a cat. The cat saw him."] * 5
FACTS = {"learning_rates": 0.1, "mean_norms": math.nan, "max_norms": 2.0, "seconds": 0.5, "tokens": 7}
ODD = [
    None, True, -1, 0, 3, 10**30, 0.5, math.nan, math.inf, -math.inf, "1e400", "x\ny", "5", "gru", [], [[[]]], [1], {},
    {"a": 1},
]  # fmt: skip
KINDS = ["FastRNN", "LanguageModel", "Seq2Seq", "Translator", "checkpoint"]


def learned(model):
    """The model, as if it had been trained for two epochs."""
    for validation in (2.0, 1.5):
        model.history_.add(2.1, validation, **FACTS)
    model.history_.best_epoch = 2
    model.history_.evaluations.append((0, 2.5))
    return model


def write_checkpoint(path):
    """The checkpoint of a run that was stopped after its first batch."""
    FastRNN(**CHECKPOINTED, checkpoint=path).fit(*DATA)
    header, arrays = storage.read(path, "FastRNN checkpoint")
    header["state"] |= {"batch": 1, "rng_at_begin": header["rng"], "tokens": 4, "batches": 1, "loss": 8.0}
    header["history"] = learned(FastRNN(**SMALL).fit(*DATA)).history_.to_header()
    storage.write(path, header, arrays | {"carried/0": np.zeros((1, 2, 3), np.float32)})


CHECKPOINTED = SMALL | {
    "chunk_len": 2,
    "early_stopping": True,
    "random_state": np.random.Generator(np.random.MT19937(3)),
}


def make(kind, path):
    if kind == "checkpoint":
        return write_checkpoint(path)
    if kind == "FastRNN":
        learned(FastRNN(**SMALL).fit(*DATA)).save(path)
    elif kind == "Seq2Seq":
        learned(Seq2Seq(**SMALL | LAYERS).fit(*DATA)).save(path)
    else:
        whole = LanguageModel(**SMALL) if kind == "LanguageModel" else Translator(**SMALL, num_layers=2)
        whole.fit(*[TEXTS] * (1 + (kind == "Translator")))
        learned(whole.model_)
        whole.save(path)
    return None


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """{kind: bytes of an intact file}."""
    found = {}
    for kind in KINDS:
        path = tmp_path_factory.mktemp("originals") / kind
        make(kind, path)
        found[kind] = path.read_bytes()
    return found


def use(kind, path):
    """Load what is at the path; all that was read, to compare."""
    if kind == "checkpoint":
        rng = np.random.Generator(np.random.MT19937(3))
        model = FastRNN(**CHECKPOINTED | {"random_state": rng}).fit(*DATA, resume=path)
        model.rng_.random(700), model.rng_.integers(5, dtype=np.uint32)
        moments = [array.tobytes() for array in model.optimizer_.arrays()]
        return moments, repr(vars(model.history_)), generator_state(model.rng_), model.learning_rate_
    whole = load_any(path)
    model = getattr(whole, "model_", whole)
    assert all(np.isfinite(array).all() for array in model.params_.values())
    weights = {name: (array.shape, array.tobytes()) for name, array in model.params_.items()}
    vocabularies = []
    for name in ("vocabulary_", "source_vocabulary_", "target_vocabulary_"):
        if (vocabulary := getattr(whole, name, None)) is not None:
            vocabulary.transform(TEXTS)
            vocabularies.append((vocabulary.report(), vocabulary.tokens_, vocabulary.counts_.tobytes()))
    return weights, repr(vars(model.history_)), repr(whole), model.learning_rate_, vocabularies


def check(kind, path):
    """Whether the file was refused; if not, what was read is the same after it is saved again."""
    try:
        found = use(kind, path)
    except ValueError as error:
        message = str(error)
        assert str(path) in message and "\n" not in message and len(message) < 2000
        return True
    if kind != "checkpoint":
        load_any(path).save(path)
        assert use(kind, path) == found
    return False


def parts(content):
    """Header and {entry name: bytes} of a file."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    return json.loads(np.load(io.BytesIO(entries["header.npy"])).tobytes()), entries


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def write_entries(path, entries, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)


def write_json(path, entries, name, value):
    """A file of these entries, with another JSON text; in it the float "1e400" stands as such."""
    text = json.dumps(value).replace('"1e400"', "1e400")
    write_entries(path, (entries | {name: npy(np.frombuffer(text.encode(), np.uint8))}).items())


def places(value, place=()):
    """Where values stand in a JSON value: tuples of keys; of long lists only the ends."""
    if place:
        yield place
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*place, key))
    elif isinstance(value, list):
        for i in {*range(min(3, len(value))), len(value) - 1} - {-1}:
            yield from places(value[i], (*place, i))


def changed(value, place, new):
    value = json.loads(json.dumps(value))
    inner = value
    for key in place[:-1]:
        inner = inner[key]
    if new is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = new
    return value


@pytest.mark.parametrize("kind", KINDS)
def test_an_intact_file_is_not_refused(kind, originals, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(originals[kind])
    found = use(kind, path)
    assert not check(kind, path)
    path.write_bytes(originals[kind])
    entries = parts(originals[kind])[1]
    write_entries(path, entries.items(), zipfile.ZIP_DEFLATED)  # as somebody may have packed it anew
    assert use(kind, path) == found


@pytest.mark.parametrize("kind", KINDS)
def test_changed_bytes(kind, originals, tmp_path):
    rng, path, refused = np.random.default_rng(0), tmp_path / "file", 0
    for _ in range(50):
        content = bytearray(originals[kind])
        first, length = int(rng.integers(len(content))), int(rng.integers(1, 9))
        match rng.integers(5):
            case 0:
                content[first] ^= 1 << int(rng.integers(8))
            case 1:
                content[first : first + length] = rng.integers(256, size=length, dtype=np.uint8).tobytes()
            case 2:
                del content[first : first + length]
            case 3:
                content[first:first] = content[first : first + length]
            case 4:
                del content[first:]
        path.write_bytes(content)
        refused += check(kind, path)
    assert refused > 10


@pytest.mark.parametrize("kind", KINDS)
def test_odd_values_in_the_header(kind, originals, tmp_path):
    rng, path, refused = np.random.default_rng(0), tmp_path / "file", 0
    header, entries = parts(originals[kind])
    found = list(places(header))
    for _ in range(80):
        place, new = found[rng.integers(len(found))], [*ODD, ...][rng.integers(len(ODD) + 1)]
        write_json(path, entries, "header.npy", changed(header, place, new))
        refused += check(kind, path)
    assert refused > 25


@pytest.mark.parametrize("kind, name", [
    ("LanguageModel", "vocabulary/config.npy"), ("Translator", "target/config.npy"),
])  # fmt: skip
def test_odd_values_in_a_vocabulary(kind, name, originals, tmp_path):
    rng, path, refused = np.random.default_rng(0), tmp_path / "file", 0
    _, entries = parts(originals[kind])
    config = json.loads(np.load(io.BytesIO(entries[name])).tobytes())
    found = list(places(config))
    for _ in range(50):
        place, new = found[rng.integers(len(found))], [*ODD, ...][rng.integers(len(ODD) + 1)]
        write_json(path, entries, name, changed(config, place, new))
        refused += check(kind, path)
    assert refused > 10


@pytest.mark.parametrize("kind", KINDS)
def test_odd_arrays(kind, originals, tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "file"
    _, entries = parts(originals[kind])
    changes = [
        lambda array: npy(array.astype(object), allow_pickle=True),
        lambda array: npy(array.astype("S4")),
        lambda array: npy(array.astype(complex)),
        lambda array: npy(array.astype(np.float16)),
        lambda array: npy(array.astype(array.dtype.newbyteorder(">"))),
        lambda array: npy(np.array(array, [("a", array.dtype)])),
        lambda array: npy(array[None]),
        lambda array: npy(array[..., :0]),
        lambda array: npy(np.zeros((), array.dtype)),
        lambda array: npy(np.concatenate([array, array])),
        lambda array: npy(array * 0 - 1 if array.dtype.kind == "i" else array),
        lambda array: npy(array * np.nan if array.dtype.kind == "f" else array * 2),
        lambda array: npy(array.view(array.dtype))[:-1],
        lambda array: npy(array) + b"more",
        lambda array: b"no array",
        lambda array: b"",
        lambda array: npy(array).replace(b"}", b"}\n("),
        lambda array: npy(array).replace(b"'shape': (", b"'shape': (99999999999,"),
    ]
    for name, content in entries.items():
        for change in [changes[i] for i in rng.permutation(len(changes))[:6]]:
            with np.errstate(all="ignore"):
                new = change(np.load(io.BytesIO(content)))
            write_entries(path, (entries | {name: new}).items())
            check(kind, path)


@pytest.mark.parametrize("kind", KINDS)
def test_odd_entries(kind, originals, tmp_path):
    path = tmp_path / "file"
    _, entries = parts(originals[kind])
    *_, last = entries
    for changes in ([("text", b"more")], [("more/", b"")], [("more.npy", b"x")], [("more.npz", npy(np.arange(3)))]):
        write_entries(path, [*entries.items(), *changes])
        assert check(kind, path)
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        write_entries(path, entries.items(), method)
        assert "deflate" in raised(ValueError, use, kind, path)
    with pytest.warns(UserWarning, match="Duplicate name"):
        write_entries(path, [*entries.items(), (last, entries[last])])
    assert f"found {last} 2 times" in raised(ValueError, use, kind, path)
    deep = npy(np.frombuffer(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", np.uint8))
    write_entries(path, (entries | {"header.npy": deep}).items())
    assert check(kind, path)


def peak(function, *args):
    tracemalloc.start()
    try:
        return raised(ValueError, function, *args), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class TestMemory:
    """A small file takes little memory, whatever it claims."""

    @pytest.mark.parametrize("kind", ["FastRNN", "Seq2Seq"])
    @pytest.mark.parametrize("name, value", [
        ("hidden_dim", 4000), ("hidden_dim", 10**9), ("hidden_dim", 10**40), ("num_layers", 10**9),
        ("embedding_dim", 10**7), ("vocab_size", 10**7),
    ])  # fmt: skip
    def test_claims_of_the_header(self, kind, name, value, originals, tmp_path):
        header, entries = parts(originals[kind])
        if name == "vocab_size":
            header[name] = value if kind == "FastRNN" else [value, value]
        else:
            header["parameters"][name] = value
        write_json(tmp_path / "file", entries, "header.npy", header)
        message, memory = peak(use, kind, tmp_path / "file")
        assert message.startswith(f"{tmp_path / 'file'}: damaged: ") and memory < 2e6

    @pytest.mark.parametrize("kind, name", [
        ("FastRNN", "header"), ("FastRNN", "params/V"), ("LanguageModel", "vocabulary/tokens"),
        ("LanguageModel", "vocabulary/config"), ("checkpoint", "weights/0"),
    ])  # fmt: skip
    def test_entries_that_unpack_to_much(self, kind, name, originals, tmp_path):
        _, entries = parts(originals[kind])
        old = np.load(io.BytesIO(entries[f"{name}.npy"]))
        entries[f"{name}.npy"] = npy(np.zeros(1 << 25, old.dtype))
        write_entries(tmp_path / "file", entries.items(), zipfile.ZIP_DEFLATED)
        assert (tmp_path / "file").stat().st_size < 2e5
        _, memory = peak(use, kind, tmp_path / "file")
        assert memory < 2e6

    def test_entries_that_share_their_bytes(self, originals, tmp_path):
        _, entries = parts(originals["FastRNN"])
        shared = npy(np.zeros(10_000, np.uint8))
        write_entries(tmp_path / "file", [*entries.items(), ("a.npy", shared), ("b.npy", shared)])
        with zipfile.ZipFile(tmp_path / "file") as archive:
            first, second = (archive.getinfo(name).header_offset for name in ("a.npy", "b.npy"))
        content = (tmp_path / "file").read_bytes()
        content = (
            content[:second] + content[archive.start_dir :]
        )  # b's bytes are cut, and its entry says that a's are b's
        at = content.rindex(b"PK\1\2")
        content = content[: at + 42] + first.to_bytes(4, "little") + content[at + 46 :]
        end = content.rindex(b"PK\5\6")
        content = content[: end + 16] + second.to_bytes(4, "little") + content[end + 20 :]
        (tmp_path / "file").write_bytes(content)
        assert "damaged" in raised(ValueError, use, "FastRNN", tmp_path / "file")


class TestSaving:
    """What could not be loaded is not saved."""

    @pytest.mark.parametrize("kind", KINDS[:-1])
    def test_weights_that_are_not_finite(self, kind, originals, tmp_path):
        (tmp_path / "file").write_bytes(originals[kind])
        whole = load_any(tmp_path / "file")
        params = getattr(whole, "model_", whole).params_
        name = [*params][-1]
        params[name].flat[0] = np.inf
        message = raised(ValueError, whole.save, tmp_path / "file")
        assert f"found NaN or infinity in {name}" in message
        assert (tmp_path / "file").read_bytes() == originals[kind]

    @pytest.mark.parametrize("change", [
        lambda history: history.losses.append(1.0),
        lambda history: history.seconds.__setitem__(0, math.inf),
        lambda history: history.evaluations.append(("first", 1.0)),
        lambda history: setattr(history, "best_epoch", 3),
    ])  # fmt: skip
    def test_a_history_that_is_none(self, change, originals, tmp_path):
        model = learned(FastRNN(**SMALL).fit(*DATA))
        model.save(tmp_path / "file")
        change(model.history_)
        raised((TypeError, ValueError), model.save, tmp_path / "other")
        assert os.listdir(tmp_path) == ["file"]
