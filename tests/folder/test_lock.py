"""One writer a folder: of twenty that start at once one gets in, and a dead one holds nobody up."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from expunge.errors import InputError
from expunge.folder.lock import locked
from expunge.storage import LOCK, is_taken

#: Gets in and says so, stays until it is told to go; or is refused, and says why.
WRITER = """
import sys
from pathlib import Path
from expunge.errors import InputError
from expunge.folder.lock import locked
sys.stdin.readline()
try:
    with locked(Path(sys.argv[1]), "output"):
        print("in", flush=True)
        sys.stdin.readline()
except InputError as error:
    print(error, flush=True)
"""


def start(folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def tell(process: subprocess.Popen, word: str = "go") -> None:
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


def test_of_twenty_at_once_one_gets_in_and_the_others_are_told_which(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a"
    writers = [start(folder) for _ in range(20)]
    for writer in writers:
        tell(writer)
    said = {writer: writer.stdout.readline() for writer in writers}
    (first,) = [writer for writer, line in said.items() if line == "in\n"]
    named = f"output: it is being written to by process {first.pid} on {socket.gethostname()}, since "
    assert all(line.startswith(named) for writer, line in said.items() if writer is not first)
    tell(first)
    for writer in writers:
        writer.communicate(timeout=30)
    assert not (tmp_path / "runs").exists()  # made for the lock alone


def test_a_folder_that_was_made_for_the_lock_alone_goes_with_it(tmp_path: Path) -> None:
    with locked(tmp_path / "runs" / "a", "output"):
        assert (tmp_path / "runs" / "a" / LOCK).exists()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "runs").mkdir()
    with locked(tmp_path / "runs" / "a", "output"):
        pass
    assert [place.name for place in tmp_path.iterdir()] == ["runs"]


def test_a_dead_ones_lock_is_taken_over(tmp_path: Path) -> None:
    writer = start(tmp_path)
    tell(writer)
    assert writer.stdout.readline() == "in\n"
    with (
        pytest.raises(InputError, match=rf"process {writer.pid} on "),
        locked(tmp_path, "output"),
    ):
        pass
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert (tmp_path / LOCK).exists()
    assert not is_taken(tmp_path)
    with locked(tmp_path, "output"):
        assert re.search(rf'"process": {os.getpid()},', (tmp_path / LOCK).read_text())
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_goes_while_another_waits_for_it_lets_in_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the opening of the file and its lock the holder removes it: a lock without a name locks nothing."""
    import fcntl

    real, places = fcntl.flock, []

    def removed_meanwhile(descriptor: int, how: int) -> None:
        if not places:
            (tmp_path / LOCK).unlink()
        places.append(descriptor)
        real(descriptor, how)

    monkeypatch.setattr("fcntl.flock", removed_meanwhile)
    with locked(tmp_path, "output"):
        assert len(places) == 2
        with pytest.raises(InputError, match="is being written to by process"), locked(tmp_path, "output"):
            pass


def test_the_lock_is_no_link(tmp_path: Path) -> None:
    """What a stranger's folder calls its lock is not written to elsewhere."""
    mine = tmp_path / "mine"
    mine.write_text("mine")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / LOCK).symlink_to(mine)
    with pytest.raises(InputError, match="it is a link"), locked(folder, "output"):
        pass
    assert mine.read_text() == "mine"


def test_a_way_that_goes_up_again_and_a_long_name(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with locked(tmp_path / "there", "output"):
        up = tmp_path / "missing" / ".." / "there"
        with pytest.raises(InputError, match="is being written to by process"), locked(up, "output"):
            pass
    with locked(tmp_path / ("n" * 255), "output"):
        assert (tmp_path / ("n" * 255) / LOCK).exists()
    assert [place.name for place in tmp_path.iterdir()] == ["there"]


def test_what_goes_wrong_while_a_folder_is_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(OSError, match="No space"), locked(tmp_path / "runs" / "a", "output"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_link_to_nothing_is_no_place(tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to(tmp_path / "gone")
    with (
        pytest.raises(InputError, match="runs' is a link to what is not there"),
        locked(tmp_path / "runs" / "a", "o"),
    ):
        pass
    assert [place.name for place in tmp_path.iterdir()] == ["runs"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="may not be written to"), locked(tmp_path / "run", "output"):
        pass
    tmp_path.chmod(0o700)
