"""Bytes of text files: compressed ones are unpacked, and what is no text at all is called by its name."""

import bz2
import gzip
import lzma
import re
import zlib

SUFFIXES = (".gz", ".bz2", ".xz", ".zst")

_COMPRESSED = [
    (re.compile(rb"\x1f\x8b\x08"), ".gz"),
    (re.compile(rb"BZh[1-9]1AY&SY"), ".bz2"),
    (re.compile(rb"\xfd7zXZ\0"), ".xz"),
    (re.compile(rb"\x28\xb5\x2f\xfd"), ".zst"),
]
_NO_TEXT = [
    (re.compile(rb"PK\x03\x04.{26}[\w/.]+\.npy", re.DOTALL), "a model, or another .npz file"),
    (re.compile(rb"PK(?:\x03\x04|\x05\x06)"), "a zip archive"),
    (re.compile(rb"7z\xbc\xaf\x27\x1c"), "a 7z archive"),
    (re.compile(rb"Rar!\x1a"), "a rar archive"),
    (re.compile(rb".{257}ustar", re.DOTALL), "a tar archive"),
    (re.compile(rb"%PDF-"), "a PDF document"),
    (re.compile(rb"\{\\rtf"), "an RTF document"),
]
_LONGEST_WINDOW = 31  # log2 of bytes, as `zstd --long=31` packs with


def unpack(file, name, data):
    """Return the bytes of a text file, unpacked if its name or its first bytes say that they are compressed.

    Parameters
    ----------
    file : path
        What errors call it.
    name : str
        The file's name in lower case.
    data : bytes

    Raises
    ------
    ValueError
        The file is broken, or something else than text: an archive, a document.
    ImportError
        It is compressed with Zstandard, and nothing is installed that unpacks that.
    """
    suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)
    suffix = suffix or next((suffix for start, suffix in _COMPRESSED if start.match(data)), None)
    if suffix:
        unpacker, kind = _UNPACKERS[suffix]
        try:
            data = unpacker(data)
        except ImportError as error:
            raise ImportError(f"{file}: {error}") from None
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
            raise ValueError(f"{file}: broken {kind} file ({error})") from None
    for start, kind in _NO_TEXT:
        if start.match(data):
            raise ValueError(f"{file}: found {kind}, expected a text")
    return data


def _unpack_zstd(data):
    try:
        from compression import zstd  # since Python 3.14
    except ImportError:
        return _unpack_by_zstandard(data)
    try:
        return zstd.decompress(data, options={zstd.DecompressionParameter.window_log_max: _LONGEST_WINDOW})
    except zstd.ZstdError as error:
        raise ValueError(error) from None


def _unpack_by_zstandard(data):
    try:
        import zstandard
    except ImportError:
        raise ImportError('.zst files need zstandard: pip install "fastrnn[zstd]"') from None
    parts = []
    while data:  # a file may be several frames, end to end
        frame = zstandard.ZstdDecompressor(max_window_size=1 << _LONGEST_WINDOW).decompressobj()
        try:
            parts.append(frame.decompress(data))
        except zstandard.ZstdError as error:
            raise ValueError(error) from None
        if not frame.eof:
            raise EOFError("it ends before the end mark")
        data = frame.unused_data
    return b"".join(parts)


_UNPACKERS = {
    ".gz": (gzip.decompress, "gzip"),
    ".bz2": (bz2.decompress, "bzip2"),
    ".xz": (lzma.decompress, "xz"),
    ".zst": (_unpack_zstd, "Zstandard"),
}
