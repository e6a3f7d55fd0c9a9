"""Files replaced as a whole: through links, into devices, beside other writers, and when a process is killed."""

import errno
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers import raised

import fastrnn
from fastrnn import output_files
from fastrnn.cli import console
from fastrnn.output_files import destination, replace_file

ROOT = Path(fastrnn.__file__).resolve().parent.parent
posix = pytest.mark.skipif(sys.platform == "win32", reason="what POSIX has: links, devices, permissions, SIGKILL")


def write(path, content=b"new"):
    with replace_file(path) as file:
        file.write(content)


@pytest.fixture
def path(tmp_path):
    """An existing file, alone in its folder."""
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / "m.npz"
    path.write_bytes(b"old")
    return path


def test_what_was_there_stays_until_the_new_file_is_whole(path):
    with replace_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
        assert {*os.listdir(path.parent)} == {"m.npz", "m.npz.fastrnn.part"}
    assert path.read_bytes() == b"new" and os.listdir(path.parent) == ["m.npz"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_an_error_leaves_what_was_there_and_nothing_else(path, error):
    with pytest.raises(error), replace_file(path) as file:
        file.write(b"half")
        raise error
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == ["m.npz"]


def test_a_path_that_leads_nowhere_is_named(tmp_path):
    with pytest.raises(FileNotFoundError) as info:
        write(tmp_path / "none" / "m.npz")
    assert info.value.filename == str(tmp_path / "none" / "m.npz")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        write(tmp_path / "file" / "m.npz")
    assert raised(TypeError, write, 3) == "path: found 3, expected a str or a path"


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, "m"])
def test_any_name_that_a_file_can_have(tmp_path, name):
    write(tmp_path / name)
    assert os.listdir(tmp_path) == [name]


@posix
class TestLinks:
    @pytest.mark.parametrize("exists", [True, False])
    def test_the_link_stays_and_its_target_is_replaced(self, path, tmp_path, exists):
        if not exists:
            path.unlink()
        (tmp_path / "first").symlink_to(path)
        (tmp_path / "second").symlink_to("first")
        with replace_file(tmp_path / "second") as file:
            file.write(b"new")
            assert "m.npz.fastrnn.part" in os.listdir(path.parent)
        assert path.read_bytes() == b"new" and not path.is_symlink()
        assert os.readlink(tmp_path / "second") == "first" and os.readlink(tmp_path / "first") == str(path)
        assert {*os.listdir(tmp_path)} == {"folder", "first", "second"}

    def test_a_circle(self, tmp_path):
        (tmp_path / "a").symlink_to("b")
        (tmp_path / "b").symlink_to("a")
        with pytest.raises(OSError, match=re.escape(os.strerror(errno.ELOOP))):
            write(tmp_path / "a")
        assert (tmp_path / "a").is_symlink()


@posix
class TestNoRegularFile:
    def test_a_fifo_is_written_into(self, tmp_path):
        fifo, read = tmp_path / "fifo", []
        os.mkfifo(fifo)
        reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()), daemon=True)
        reader.start()
        with replace_file(fifo) as file:
            file.write(b"-" * 100_000)
            file.seek(0)  # as an archive's writer may
            file.write(b"head")
        reader.join(60)
        assert read == [b"head" + b"-" * 99_996]
        assert stat.S_ISFIFO(fifo.stat().st_mode) and os.listdir(tmp_path) == ["fifo"]

    def test_a_device_is_written_into(self, tmp_path):
        import pty
        import tty

        master, slave = pty.openpty()
        try:
            tty.setraw(slave)
            (tmp_path / "link").symlink_to(os.ttyname(slave))
            assert destination(tmp_path / "link") is None
            write(tmp_path / "link")
            assert os.read(master, 100) == b"new"
            assert stat.S_ISCHR(os.stat(os.ttyname(slave)).st_mode) and (tmp_path / "link").is_symlink()
        finally:
            os.close(master)
            os.close(slave)

    @pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="no /proc")
    def test_an_open_file_without_a_name(self, tmp_path):
        with open(tmp_path / "gone", "w+b") as file:
            os.unlink(tmp_path / "gone")
            file.write(b"what was there before")
            file.flush()
            write(f"/proc/self/fd/{file.fileno()}")
            file.seek(0)
            assert file.read() == b"new" and os.listdir(tmp_path) == []

    def test_what_cannot_be_written_into_is_refused(self, tmp_path, monkeypatch):
        (tmp_path / "folder").mkdir()
        (tmp_path / "link").symlink_to("folder")
        for name in ("folder", "link"):
            assert "found a directory, expected a file to write" in raised(OSError, write, tmp_path / name)
        monkeypatch.chdir(tmp_path)  # names of sockets are short
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("socket")
            assert "found a socket, expected a file to write" in raised(OSError, write, "socket")
        assert {*os.listdir(tmp_path)} == {"folder", "link", "socket"}

    def test_a_block_device_is_refused(self, path, monkeypatch):
        block = os.stat_result((stat.S_IFBLK | 0o600, *os.stat(path)[1:]))
        with monkeypatch.context() as patch:
            patch.setattr(os, "stat", lambda *args, **options: block)
            with pytest.raises(OSError, match="found a block device"):
                destination("sda")


@posix
def test_a_mount_point_is_written_into(path, monkeypatch):
    def busy(source, target):
        raise OSError(errno.EBUSY, "Device or resource busy", str(source), None, str(target))

    monkeypatch.setattr(os, "replace", busy)  # as a container has it whose file is one of the machine's
    inode = path.stat().st_ino
    write(path, b"new")
    assert path.read_bytes() == b"new" and path.stat().st_ino == inode and os.listdir(path.parent) == ["m.npz"]


@posix
class TestPermissions:
    @pytest.mark.parametrize("mode", [0o600, 0o640, 0o777])
    def test_those_of_the_old_file_from_the_first_byte_on(self, path, mode):
        path.chmod(mode)
        with replace_file(path) as file:
            assert stat.S_IMODE(os.stat(file.fileno()).st_mode) == mode
        assert stat.S_IMODE(path.stat().st_mode) == mode

    def test_those_of_the_umask_for_a_new_one(self, tmp_path):
        before = os.umask(0o027)
        try:
            write(tmp_path / "m")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == 0o640

    def test_a_file_that_is_read_only_is_not_replaced(self, path, monkeypatch):
        monkeypatch.setattr(os, "access", lambda *args: False)  # as it is, but for root
        assert "found a read-only file" in raised(PermissionError, write, path)
        assert path.read_bytes() == b"old"


KILLED = """
import sys, time
from fastrnn.output_files import replace_file
with replace_file(sys.argv[1]) as file:
    file.write(b"half")
    print("writing", flush=True)
    time.sleep(600)
"""


@posix
class TestLeftBehind:
    def start(self, path):
        command = [sys.executable, "-c", KILLED, str(path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)})
        assert process.stdout.readline() == b"writing\n"
        return process

    def test_one_file_however_many_are_killed_and_none_after_the_next_write(self, path):
        for _ in range(3):
            with self.start(path) as process:
                process.send_signal(signal.SIGKILL)
            assert {*os.listdir(path.parent)} == {"m.npz", "m.npz.fastrnn.part"} and path.read_bytes() == b"old"
        write(path)
        assert os.listdir(path.parent) == ["m.npz"] and path.read_bytes() == b"new"

    def test_what_another_process_is_writing_is_left_alone(self, path):
        with self.start(path) as process:
            write(path)
            assert {*os.listdir(path.parent)} == {"m.npz", "m.npz.fastrnn.part"} and path.read_bytes() == b"new"
            assert (path.parent / "m.npz.fastrnn.part").stat().st_size == 0  # its own, whose bytes are still buffered
            process.send_signal(signal.SIGKILL)

    @pytest.mark.parametrize("kind", ["directory", "link"])
    def test_what_is_not_ours_is_left_alone(self, path, kind):
        part = path.with_name("m.npz.fastrnn.part")
        part.mkdir() if kind == "directory" else part.symlink_to("m.npz")
        write(path)
        assert path.read_bytes() == b"new" and (part.is_symlink() or part.is_dir())
        assert len(os.listdir(path.parent)) == 2


@posix
def test_several_writers_of_one_file(path):
    contents, failed = [bytes([i]) * 50_000 for i in range(6)], []

    def repeat(content):
        try:
            for _ in range(30):
                write(path, content)
                found = path.read_bytes()
                assert found in contents
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=repeat, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and os.listdir(path.parent) == ["m.npz"]


def test_the_last_writer_stays(path):
    with replace_file(path) as outer:
        outer.write(b"outer")
        with replace_file(path) as inner:
            inner.write(b"inner")
        assert path.read_bytes() == b"inner"
    assert path.read_bytes() == b"outer" and os.listdir(path.parent) == ["m.npz"]


class TestWithoutLocks:
    """File systems that know none, and Windows: what is an hour old is left behind."""

    @pytest.fixture(params=["no fcntl", "no locks"], autouse=True)
    def without(self, request, monkeypatch):
        if request.param == "no fcntl":
            monkeypatch.setattr(output_files, "fcntl", None)
        else:
            fcntl = pytest.importorskip("fcntl")

            def refuses(*args):
                raise OSError(errno.ENOLCK, "No locks available")

            monkeypatch.setattr(fcntl, "flock", refuses)

    def test_it_is_removed_when_it_is_old(self, path):
        part = path.with_name("m.npz.fastrnn.part")
        part.write_bytes(b"half")
        write(path, b"first")
        assert path.read_bytes() == b"first" and part.read_bytes() == b"half"
        os.utime(part, (1e9, 1e9))
        write(path, b"second")
        assert path.read_bytes() == b"second" and os.listdir(path.parent) == ["m.npz"]

    def test_several_writers(self, path):
        test_the_last_writer_stays(path)


class TestWindows:
    """With the functions of `os` as they are there."""

    @pytest.fixture
    def refusals(self, monkeypatch):
        """How often the file is open in another program when it is to be replaced; and what was waited."""
        original, found = os.replace, {"left": 0, "waits": []}

        def replace(source, target):
            if found["left"]:
                found["left"] -= 1
                raise PermissionError(errno.EACCES, "Access is denied", str(source))
            original(source, target)

        monkeypatch.setattr(os, "replace", replace)
        monkeypatch.setattr(output_files, "WINDOWS", True)
        monkeypatch.setattr(output_files, "fcntl", None)
        monkeypatch.delattr(os, "O_NOFOLLOW", raising=False)
        monkeypatch.setattr(output_files.time, "sleep", found["waits"].append)
        return found

    def test_a_file_that_is_open_elsewhere_for_a_moment(self, path, refusals):
        refusals["left"] = 3
        write(path)
        assert path.read_bytes() == b"new" and len(refusals["waits"]) == 3
        assert os.listdir(path.parent) == ["m.npz"]

    def test_one_that_stays_open(self, path, refusals):
        refusals["left"] = 99
        with pytest.raises(PermissionError, match="another program may have it open") as info:
            write(path)
        assert info.value.filename == str(path) and 1 < sum(refusals["waits"]) < 10
        assert path.read_bytes() == b"old" and os.listdir(path.parent) == ["m.npz"]

    def test_no_file_is_open_when_it_is_renamed_or_removed(self, path, refusals, monkeypatch):
        opened = []
        original = output_files._open_part

        def remember(*args):
            opened.append(original(*args))
            return opened[-1]

        replace, unlink = os.replace, os.unlink
        monkeypatch.setattr(output_files, "_open_part", remember)
        closed = []
        monkeypatch.setattr(os, "replace", lambda *args: closed.append(opened[-1][1].closed) or replace(*args))
        monkeypatch.setattr(os, "unlink", lambda *args: closed.append(opened[-1][1].closed) or unlink(*args))
        write(path)
        with pytest.raises(KeyError), replace_file(path) as file:
            file.write(b"half")
            raise KeyError
        assert closed == [True, True] and path.read_bytes() == b"new"

    def test_a_closed_pipe(self, monkeypatch):
        invalid = OSError(errno.EINVAL, "Invalid argument")
        assert console.is_closed_pipe(BrokenPipeError()) and not console.is_closed_pipe(invalid)
        monkeypatch.setattr(console, "WINDOWS", True)
        assert console.is_closed_pipe(invalid)
        assert not console.is_closed_pipe(OSError(errno.EINVAL, "Invalid argument", "a?b"))
        assert not console.is_closed_pipe(OSError(errno.ENOSPC, "No space left on device"))
