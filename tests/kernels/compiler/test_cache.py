"""The cache of compiled kernels: its folder, who may write there, damaged files, disks that are full."""

import logging
import os
import shutil
import stat
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numba
import numpy as np
import pytest
from helpers import run_python

import fastrnn
from fastrnn.kernels.compiler import cache, cache_folder
from fastrnn.kernels.compiler.jit import jit

PACKAGE = Path(fastrnn.__file__).parent
posix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this system has no user ids")


def copy_package(folder):
    """A copy of the package that may be edited."""
    return shutil.copytree(PACKAGE, folder / "fastrnn", ignore=shutil.ignore_patterns("__pycache__"))


@pytest.fixture
def chosen(monkeypatch, tmp_path):
    """What NUMBA_CACHE_DIR names."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "chosen"))
    return tmp_path / "chosen"


@pytest.fixture
def warnings(monkeypatch):
    """Lines that are logged, as if none had been before."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    monkeypatch.setattr(cache.logger, "handlers", [handler])
    cache._warn_once.cache_clear()
    yield lines
    cache._warn_once.cache_clear()


class TestSourceHash:
    def test_every_kernel_source_counts(self, tmp_path):
        package = copy_package(tmp_path)
        hashes = [cache_folder.source_hash(package)]
        assert hashes[0] == cache_folder.source_hash()
        sources = [path for path in package.glob("kernels/**/*.py") if "cuda" not in path.parts]
        for path in sorted([*sources, *package.glob("data/*.py")]):
            path.write_text(path.read_text() + "\n# edited\n")
            hashes.append(cache_folder.source_hash(package))
        cells = package / "kernels" / "cells"
        (cells / "new.py").write_text("")
        hashes.append(cache_folder.source_hash(package))
        (cells / "new.py").rename(cells / "newer.py")
        hashes.append(cache_folder.source_hash(package))
        assert len(set(hashes)) == len(hashes) > 12

    def test_other_sources_do_not(self, tmp_path):
        package = copy_package(tmp_path)
        before = cache_folder.source_hash(package)
        (package / "estimators" / "rnn.py").write_text("")
        (package / "kernels" / "cuda" / "passes.py").write_text("")
        assert cache_folder.source_hash(package) == before


class TestName:
    @pytest.mark.parametrize("owner, name, value", [
        (cache_folder, "source_hash", lambda: "0123456789abcdef"), (cache_folder, "__version__", "9.9"),
        (numba, "__version__", "9.9"), (cache_folder.llvmlite, "__version__", "9.9"), (np, "__version__", "9.9"),
        (sys, "version_info", (9, 9, 0)), (numba.config, "CPU_NAME", "z80"), (numba.config, "CPU_FEATURES", "+none"),
        (numba.config, "OPT", 0), (numba.config, "BOUNDSCHECK", 1),
    ])  # fmt: skip
    def test_it_stands_for_all_that_machine_code_depends_on(self, owner, name, value, monkeypatch):
        before = cache_folder.folder_name()
        monkeypatch.setattr(owner, name, value)
        assert cache_folder.folder_name() != before

    @pytest.mark.parametrize("cpu", ["../../up", "a b/c", "x" * 500])
    def test_it_is_one_short_name(self, cpu, monkeypatch):
        monkeypatch.setattr(numba.config, "CPU_NAME", cpu)
        name = cache_folder.folder_name()
        assert Path(name).name == name and len(name) < 130 and cache_folder.NAME.fullmatch(name)


class TestFolder:
    def test_the_user_s_choice(self, chosen):
        folder, problem = cache_folder.choose_folder()
        assert folder == chosen / cache_folder.folder_name() and folder.is_dir() and problem is None

    def test_a_relative_one_stays_where_it_was(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(numba.config, "CACHE_DIR", "here")
        assert cache_folder.choose_folder() == (tmp_path / "here" / cache_folder.folder_name(), None)

    @pytest.mark.parametrize("platform, variables, expected", [
        ("linux", {}, "home/.cache"), ("linux", {"XDG_CACHE_HOME": "{}/xdg"}, "xdg"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "home/.cache"), ("darwin", {}, "home/Library/Caches"),
        ("win32", {"LOCALAPPDATA": "{}/local"}, "local"), ("win32", {}, "home/AppData/Local"),
    ])  # fmt: skip
    def test_the_user_s_cache_folder_by_default(self, platform, variables, expected, tmp_path, monkeypatch):
        for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value.format(tmp_path))
        for name in ("HOME", "USERPROFILE"):
            monkeypatch.setenv(name, str(tmp_path / "home"))
        monkeypatch.setattr(numba.config, "CACHE_DIR", "")
        monkeypatch.setattr(sys, "platform", platform)
        assert cache_folder.choose_folder() == (tmp_path / expected / "fastrnn" / cache_folder.folder_name(), None)

    @posix
    def test_a_user_without_a_home(self, monkeypatch):
        import pwd

        def unknown(user):
            raise KeyError(user)

        for name in ("HOME", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(pwd, "getpwuid", unknown)
        monkeypatch.setattr(numba.config, "CACHE_DIR", "")
        folder, problem = cache_folder.choose_folder()
        assert folder.is_dir() and stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
        assert problem == "this user has no home folder"

    def test_a_file_in_the_way(self, chosen):
        chosen.write_text("")
        folder, problem = cache_folder.choose_folder()
        assert folder.is_dir() and chosen not in folder.parents and str(chosen) in problem
        chosen.unlink()
        chosen.mkdir()
        (chosen / cache_folder.folder_name()).write_text("")
        folder, problem = cache_folder.choose_folder()
        assert folder.is_dir() and chosen not in folder.parents and "Not a directory" in problem

    def test_no_folder_at_all(self, chosen, monkeypatch):
        def refuse(**options):
            raise FileNotFoundError("no usable temporary directory")

        chosen.write_text("")
        monkeypatch.setattr(cache_folder.tempfile, "mkdtemp", refuse)
        folder, problem = cache_folder.choose_folder()
        assert folder is None and str(chosen) in problem

    def test_a_temporary_one_goes_with_its_process(self, tmp_path):
        (tmp_path / "file").write_text("")
        script = """
import os, sys
from fastrnn.kernels.compiler.cache_folder import FOLDER, PROBLEM
assert FOLDER.is_dir() and PROBLEM
if hasattr(os, "fork") and os.fork() == 0:
    sys.exit()
if hasattr(os, "fork"):
    os.wait()
print(FOLDER, FOLDER.is_dir(), sep="|")
"""
        options = {"NUMBA_CACHE_DIR": tmp_path / "file", "NUMBA_DISABLE_JIT": "0"}
        folder, was_there = run_python(script, PACKAGE.parent, **options).strip().split("|")
        assert was_there == "True" and not Path(folder).parent.exists()


@posix
class TestTrust:
    """A folder is used only if nobody but the user and root can write there, or move it."""

    def refused(self, folder):
        found, problem = cache_folder.choose_folder()
        return folder not in found.parents and (str(folder) in problem)

    def give_away(self, path, monkeypatch):
        """Make it another user's; who is not root becomes another user instead."""
        if os.geteuid() == 0:
            os.chown(path, 65534, 65534, follow_symlinks=False)
        else:
            user = os.geteuid() + 1
            monkeypatch.setattr(os, "geteuid", lambda: user)

    @pytest.mark.parametrize("mode, own_group, usable", [
        (0o755, False, True), (0o777, False, False), (0o775, False, False), (0o775, True, True), (0o777, True, False),
        (0o1777, False, True),
    ])  # fmt: skip
    def test_modes_of_a_folder_above(self, mode, own_group, usable, chosen, monkeypatch):
        monkeypatch.setattr(cache_folder, "_is_own_group", lambda group: own_group)
        chosen.mkdir()
        chosen.chmod(mode)
        if usable:
            assert cache_folder.choose_folder() == (chosen / cache_folder.folder_name(), None)
        else:
            assert self.refused(chosen) and not any(chosen.iterdir())

    @pytest.mark.parametrize("mode", [0o777, 0o775, 0o757, 0o1777])
    def test_modes_of_the_folder(self, mode, chosen, monkeypatch):
        monkeypatch.setattr(cache_folder, "_is_own_group", lambda group: False)
        folder, _ = cache_folder.choose_folder()
        folder.chmod(mode)
        assert self.refused(chosen)

    def test_the_umask_does_not_open_it(self, chosen):
        before = os.umask(0)
        try:
            folder, problem = cache_folder.choose_folder()
        finally:
            os.umask(before)
        assert problem is None and stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(chosen.stat().st_mode) == 0o755

    @pytest.mark.parametrize("whose", ["chosen", "folder"])
    def test_another_user_s_folder(self, whose, chosen, monkeypatch):
        folder, _ = cache_folder.choose_folder()
        self.give_away(chosen if whose == "chosen" else folder, monkeypatch)
        found, problem = cache_folder.choose_folder()
        assert found is None or chosen not in found.parents  # None: who became another user owns no folder here
        assert "other users could write there" in problem

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a folder away")
    def test_a_container_that_does_not_know_root(self, chosen, monkeypatch):
        """There what belongs to root, such as /home, appears to belong to nobody."""
        folder, _ = cache_folder.choose_folder()
        os.chown(chosen, 65534, 65534)
        assert self.refused(chosen)
        monkeypatch.setattr(cache_folder, "_unmapped_root", lambda: 65534)
        assert cache_folder.choose_folder() == (folder, None)
        os.chown(folder, 65534, 65534)
        assert self.refused(chosen)

    @pytest.mark.skipif(not Path("/proc/self/uid_map").exists(), reason="not Linux")
    @pytest.mark.parametrize("lines, expected", [
        ("0 0 4294967295", False), ("1000 1000 1", True), ("0 1000 1", True), ("0 1000 1\n1 100000 65536", True),
    ])  # fmt: skip
    def test_whether_root_is_known(self, lines, expected, monkeypatch):
        read = Path.read_text
        monkeypatch.setattr(Path, "read_text", lambda path: lines if path.name == "uid_map" else read(path))
        assert (cache_folder._unmapped_root() is not None) == expected

    def test_links(self, chosen, tmp_path, monkeypatch):
        target = tmp_path / "target"
        target.mkdir()
        chosen.symlink_to(target)
        assert cache_folder.choose_folder() == (chosen / cache_folder.folder_name(), None)  # one's own
        target.chmod(0o777)
        _, problem = cache_folder.choose_folder()
        assert f"{target}: other users could write there" == problem
        target.chmod(0o755)
        self.give_away(chosen, monkeypatch)
        _, problem = cache_folder.choose_folder()
        assert "other users could write there" in problem or "another user's link" in problem

    def test_a_link_to_itself(self, chosen):
        chosen.symlink_to(chosen)
        assert self.refused(chosen)

    @pytest.mark.parametrize("group_name, members, user_group, own", [
        ("ann", [], 7, True), ("ann", ["ann"], 7, True), ("ann", ["ann", "bob"], 7, False), ("staff", [], 7, False),
        ("ann", [], 8, False),
    ])  # fmt: skip
    def test_a_group_of_one(self, group_name, members, user_group, own, monkeypatch):
        import grp
        import pwd

        user = SimpleNamespace(pw_name="ann", pw_gid=user_group)
        monkeypatch.setattr(pwd, "getpwuid", lambda user_id: user)
        monkeypatch.setattr(grp, "getgrgid", lambda group: SimpleNamespace(gr_name=group_name, gr_mem=members))
        assert cache_folder._is_own_group(7) == own


class TestRemoval:
    def make(self, parent, name, days):
        folder = parent / name
        folder.mkdir(parents=True)
        (folder / f"f{cache.SUFFIX}").write_text("")
        used = time.time() - days * cache_folder.DAY
        os.utime(folder, (used, used))
        return folder

    def test_what_nobody_uses_goes_when_a_folder_is_new(self, chosen):
        old = [self.make(chosen, f"fastrnn-{name}{'0' * 16}", 31) for name in ("", "0.1-")]
        recent = self.make(chosen, f"fastrnn-0.2-{'0' * 16}", 29)
        others = [self.make(chosen, name, 999) for name in ("fastrnn-checkout", "numba-" + "0" * 16, "fastrnn")]
        file = chosen / f"fastrnn-1-{'0' * 16}"
        file.write_text("")
        os.utime(file, (0, 0))
        folder, _ = cache_folder.choose_folder()
        assert not any(path.exists() for path in old)
        assert all(path.exists() for path in (recent, *others, file, folder))

    def test_of_very_many_the_newest_stay(self, chosen):
        assert cache_folder.CROWD == 10
        days = [1] * 4 + [3] * 8 + [29]
        folders = [self.make(chosen, f"fastrnn-{rank:016x}", day) for rank, day in enumerate(days)]
        cache_folder.choose_folder()
        assert [path.exists() for path in folders[:4]] == [True] * 4
        assert sum(path.exists() for path in folders[4:12]) == 6 and not folders[12].exists()
        for rank in range(20, 32):  # all in use
            self.make(chosen, f"fastrnn-{rank:016x}", 1)
        cache_folder.remove_unused(chosen / "fastrnn", time.time())
        assert len(list(chosen.iterdir())) == 4 + 12 + 1

    def test_a_folder_that_is_used_stays(self, chosen):
        folder, _ = cache_folder.choose_folder()
        old = self.make(chosen, f"fastrnn-{'0' * 16}", 31)
        cut_off = folder / f"f.1{cache_folder.UNFINISHED}"
        cut_off.write_text("")
        for path in (cut_off, folder):
            os.utime(path, (0, 0))
        cache_folder.choose_folder()  # once a day
        assert time.time() - folder.stat().st_mtime < 3600 and not cut_off.exists() and not old.exists()


class TestFiles:
    KEY, DATA = ("float32", (1, 2)), {"code": b"0123" * 1000}

    @pytest.fixture
    def files(self, tmp_path):
        return cache.KernelFiles("cpu.passes.<locals>.f", tmp_path)

    def test_what_is_saved_is_loaded(self, files):
        assert files.load(self.KEY) is None
        files.save(self.KEY, self.DATA)
        files.save(("float64",), {})
        assert files.load(self.KEY) == self.DATA and files.load(("float64",)) == {}
        assert sorted(path.suffix for path in files.folder.iterdir()) == [cache.SUFFIX] * 2
        files.flush()
        assert not any(files.folder.iterdir())

    @pytest.mark.parametrize("damage", [
        lambda content: b"", lambda content: content[: len(content) // 2], lambda content: content + b"\0",
        lambda content: content[:10], lambda content: os.urandom(len(content)),
        *(lambda content, where=where: content[:where] + bytes([content[where] ^ 1]) + content[where + 1 :]
          for where in (0, 31, 32, 60, 2000, -2)),
    ])  # fmt: skip
    def test_damaged_files_are_thrown_away(self, damage, files):
        files.save(self.KEY, self.DATA)
        path = files.path(self.KEY)
        path.write_bytes(damage(path.read_bytes()))
        assert files.load(self.KEY) is None and not path.exists()

    def test_what_cannot_be_unpickled_is_thrown_away(self, files):
        files._dumps = lambda data: b"no pickle"
        files.save(self.KEY, self.DATA)
        assert files.load(self.KEY) is None and not files.path(self.KEY).exists()

    def test_keys_are_compared_themselves(self, files):
        """As types of arrays may have one name and be of two classes."""

        class Key(str):
            __hash__ = str.__hash__

            def __repr__(self):
                return "Key"

        files.save(str(Key("a")), self.DATA)
        os.replace(files.path("a"), files.path(Key("b")))
        assert files.load(Key("b")) is None

    @posix
    @pytest.mark.parametrize("kind", ["writable", "link", "pipe", "folder"])
    def test_what_others_could_have_written_is_not_unpickled(self, kind, files, tmp_path, monkeypatch):
        files.save(self.KEY, self.DATA)
        path, loaded = files.path(self.KEY), []
        files._loads = loaded.append
        if kind == "writable":
            monkeypatch.setattr(cache_folder, "_is_own_group", lambda group: False)
            path.chmod(0o664)
        else:
            elsewhere = path.rename(tmp_path / "elsewhere")
            {"link": lambda: path.symlink_to(elsewhere), "pipe": lambda: os.mkfifo(path), "folder": path.mkdir}[kind]()
        assert files.load(self.KEY) is None and loaded == []

    @posix
    def test_another_user_s_file_is_not_unpickled(self, files, monkeypatch):
        files.save(self.KEY, self.DATA)
        TestTrust().give_away(files.path(self.KEY), monkeypatch)
        loaded = []
        files._loads = loaded.append
        assert files.load(self.KEY) is None and loaded == []

    def test_a_folder_that_has_gone(self, files, warnings):
        files.folder.rmdir()
        for key in "ab":
            files.save(key, self.DATA)
        files.folder.write_text("")
        assert files.load("a") is None
        where = f"in {files.folder} (No such file or directory)"
        assert warnings == [f"kernels cannot be kept {where}: the next process compiles them again"]
        files.save("a", self.DATA)  # a file in its stead
        assert len(warnings) == 2 and "Not a directory" in warnings[1]

    def test_a_limit_on_the_size_of_files(self, files, warnings):
        resource = pytest.importorskip("resource")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            for key in "ab":
                files.save(key, self.DATA)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert len(warnings) == 1 and "File too large" in warnings[0]
        assert not any(files.folder.iterdir())  # no half of a file

    def test_what_cannot_be_pickled(self, files, warnings):
        for key in "ab":
            files.save(key, sys._getframe())
        assert len(warnings) == 1 and "TypeError" in warnings[0]


SCRIPT = """
import logging, resource
logging.basicConfig(format="logged|%(message)s")
from fastrnn import FastRNN
from fastrnn.kernels.compiler import cache_folder
from fastrnn.kernels.cpu import passes
import fastrnn
if LIMITED:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
model = FastRNN("rnn", 2, 3, max_epochs=0, random_state=0, bias=False, n_threads=1).fit([[0]], [[1]])
loss = model.loss([[0, 1, 2]], [[1, 2, 0]])
stats = passes.score_pass.stats
print(fastrnn.__file__, cache_folder.FOLDER, repr(loss), sum(stats.cache_hits.values()),
      sum(stats.cache_misses.values()), sep="|")
"""


@pytest.mark.compiled
@posix
def test_kernels_are_kept_whatever_happens_and_an_edited_source_never_runs_an_old_one(tmp_path):
    package, home = copy_package(tmp_path), tmp_path / "home"
    home.mkdir()

    def run(limited=False):
        script = SCRIPT.replace("LIMITED", str(limited))
        environment = {"NUMBA_CACHE_DIR": None, "XDG_CACHE_HOME": home, "LOGNAME": "nobody"}
        output = run_python(script, tmp_path, **environment)
        file, folder, loss, hits, misses = output.strip().split("|")
        assert Path(file) == package / "__init__.py" and Path(folder).parent == home / "fastrnn"
        written = {path.suffix for path in package.rglob("*")}  # nothing is left in the package
        assert written <= {".py", ".typed", ""}
        files = {path: path.stat().st_mtime_ns for path in Path(folder).glob(f"*{cache.SUFFIX}")}
        return Path(folder), float(loss), int(hits), int(misses), files

    folder, loss, hits, misses, files = run()
    assert (hits, misses) == (0, 1) and len(files) >= 3
    again = run()
    assert again == (folder, loss, 1, 0, files)

    # Of each file another part is damaged.
    for number, path in enumerate(sorted(files)):
        content = bytearray(path.read_bytes())
        content[len(content) * (number + 1) // (len(files) + 1)] ^= 0xFF
        path.write_bytes(content if number else content[: len(content) // 2])
    _, repaired, hits, misses, new_files = run()
    assert (repaired, hits, misses) == (loss, 0, 1) and new_files.keys() == files.keys()
    assert all(new_files[path] > files[path] for path in files)

    # The cached kernel's own file, passes.py, is not edited: Numba alone would not notice. And the disk is full.
    source = package / "kernels" / "cells" / "rnn.py"
    text = source.read_text()
    assert text.count("h[j] = tanh(a[j])") == 1
    source.write_text(text.replace("h[j] = tanh(a[j])", "h[j] = tanh(a[j]) * a.dtype.type(0)"))
    new_folder, new_loss, hits, misses, new_files = run(limited=True)
    assert (hits, misses) == (0, 1) and new_folder != folder and not new_files
    assert new_loss == pytest.approx(np.log(3), rel=1e-6) and abs(loss - new_loss) > 1e-3


@pytest.mark.compiled
def test_other_functions_are_not_cached():
    """The folder's name stands for the sources of our kernels only."""
    before = numba.config.CACHE_DIR
    assert jit(lambda x: x)._cache.cache_path is None and numba.config.CACHE_DIR == before


@pytest.mark.compiled
def test_without_a_folder_the_reason_is_told_once(monkeypatch, warnings, tmp_path):
    from fastrnn.kernels.threads import partition

    kept = cache.KernelCache(partition.py_func)
    # Compiled here: of a kernel that came from a cache, Numba keeps no object code that could be written again.
    kernel = numba.njit(lambda x: x + 1)
    kernel(1)
    (compiled,) = kernel.overloads.values()
    monkeypatch.setattr(cache, "PROBLEM", "/home/ann: read-only")
    for folder in (tmp_path, None):
        kept._files = folder and cache.KernelFiles("share", folder)
        kept.save_overload((numba.int64,), compiled)
        assert (kept.load_overload((numba.int64,), compiled.target_context) is None) == (folder is None)
    assert len(warnings) == 1 and "(/home/ann: read-only)" in warnings[0] and "NUMBA_CACHE_DIR" in warnings[0]
