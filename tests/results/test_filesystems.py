"""File systems: folders, what fsspec reaches, and nothing at all."""

import asyncio
import os
import pickle
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import cloudpickle
import fsspec
import pytest

from mainspring.exceptions import (
    ConfigurationError,
    StorageDriverMissing,
    StorageError,
    StoragePathMissing,
)
from mainspring.filesystems import (
    LocalFileSystem,
    NullFileSystem,
    ReadableFileSystem,
    RemoteFileSystem,
    WritableFileSystem,
)


@pytest.fixture
def local(tmp_path: Path) -> LocalFileSystem:
    return LocalFileSystem(tmp_path / "base")


@pytest.fixture
def remote() -> Iterator[RemoteFileSystem]:
    base = f"memory://{uuid.uuid4().hex}"
    yield RemoteFileSystem(base)
    memory = fsspec.filesystem("memory")
    if memory.exists(base):
        memory.rm(base, recursive=True)


@pytest.fixture(params=["local", "remote"])
def system(request: pytest.FixtureRequest) -> WritableFileSystem:
    """Both kinds of file system that keep something."""
    found: WritableFileSystem = request.getfixturevalue(request.param)
    return found


@pytest.mark.contract("R-57", "R-60")
def test_write_and_read(system: WritableFileSystem) -> None:
    """What is written is read again; folders are made, and what was there is replaced."""
    address = system.write_path("a/b/c", b"first")
    assert system.write_path("a/b/c", b"x\x00y") == address == system.resolve_path("a/b/c")
    assert system.read_path("a/b/c") == system.read_path(address) == b"x\x00y"


@pytest.mark.contract("R-57")
def test_async_twins(system: WritableFileSystem) -> None:
    """The async methods do what the sync ones do."""

    async def use() -> bytes:
        await system.awrite_path("a", b"1")
        return await system.aread_path("a")

    assert asyncio.run(use()) == system.read_path("a") == b"1"


def test_beginning_of_a_file(system: WritableFileSystem) -> None:
    """The beginning can be read without the rest."""
    system.write_path("a", b"0123456789")
    assert system.read_head("a", 3) == b"012"
    assert system.read_head("a", 99) == b"0123456789"


def test_delete(system: WritableFileSystem) -> None:
    """What is deleted is gone, and deleting it again is an error."""
    system.write_path("a", b"")
    assert system.read_path("a") == b""
    system.delete_path("a")
    for method in (system.read_path, system.delete_path):
        with pytest.raises(StoragePathMissing, match="does not exist"):
            method("a")


def test_names_inside_and_outside(system: WritableFileSystem) -> None:
    """A path can be told as it is called inside, and whether it is inside."""
    assert system.relative_path(system.resolve_path("a/b")) == system.relative_path("a/b") == "a/b"
    assert system.contains("a/b")
    assert system.contains(system.resolve_path("a/b"))
    assert not system.contains("../b")
    assert not system.contains("a/../../b")
    assert not system.contains(".") or isinstance(system, RemoteFileSystem)


@pytest.mark.parametrize("library", [pickle, cloudpickle])
def test_file_systems_are_values(system: WritableFileSystem, library: ModuleType) -> None:
    """Copies are equal, have equal hashes, and work."""
    system.write_path("a", b"1")
    other = library.loads(library.dumps(system))
    assert other == system
    assert hash(other) == hash(system)
    assert other.read_path("a") == b"1"


def test_custom_file_system() -> None:
    """A class that defines reading and writing has the rest."""

    class InADict(WritableFileSystem):
        def __init__(self) -> None:
            self.kept: dict[str, bytes] = {}

        def read_path(self, path: str) -> bytes:
            return self.kept[path]

        def write_path(self, path: str, content: bytes) -> str:
            self.kept[path] = content
            return path

    system = InADict()

    async def use() -> bytes:
        await system.awrite_path("a", b"123")
        return await system.aread_path("a")

    assert asyncio.run(use()) == b"123"
    assert (system.read_head("a", 2), system.resolve_path("a"), system.fingerprint("a")) == (b"12", "a", None)
    with pytest.raises(StorageError, match="does not define delete_path"):
        system.delete_path("a")


# Folders


@pytest.mark.contract("R-58")
def test_base_path_is_looked_at_at_each_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a base path the current directory counts, `~` is the home directory, absolute paths are taken as is."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    here = LocalFileSystem()
    monkeypatch.chdir(tmp_path)
    assert here.resolve_path("a") == str(tmp_path / "a")
    monkeypatch.chdir(tmp_path / "work")
    assert here.resolve_path("a") == str(tmp_path / "work" / "a")
    assert LocalFileSystem("~/x").resolve_path("a") == str(tmp_path / "home" / "x" / "a")
    assert LocalFileSystem("sub").resolve_path("a") == str(tmp_path / "work" / "sub" / "a")
    assert LocalFileSystem("~/x").write_path(str(tmp_path / "f"), b"1") == str(tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"1"


@pytest.mark.contract("R-59")
def test_reading_what_is_no_file(local: LocalFileSystem, tmp_path: Path) -> None:
    """An absent path and a folder are ValueErrors that say which it is."""
    (tmp_path / "base" / "folder").mkdir(parents=True)
    with pytest.raises(ValueError, match="does not exist"):
        local.read_path("absent")
    with pytest.raises(ValueError, match="is not a file"):
        local.read_path("folder")
    with pytest.raises(StorageError, match="Not a directory"):
        local.write_path("f", b"") and local.read_path("f/g")


@pytest.mark.contract("R-60")
def test_writing_over_a_folder(local: LocalFileSystem, tmp_path: Path) -> None:
    """A folder is never replaced, and nothing is left of the attempt."""
    (tmp_path / "base" / "folder").mkdir(parents=True)
    with pytest.raises(ValueError, match="it is a folder"):
        local.write_path("folder", b"1")
    assert [path.name for path in (tmp_path / "base").iterdir()] == ["folder"]
    local.write_path("file", b"1")
    with pytest.raises(StorageError, match="Cannot write"):
        local.write_path("file/below", b"1")


def test_impossible_names(local: LocalFileSystem) -> None:
    """A NUL character in a name is an error of ours."""
    with pytest.raises(StorageError, match="NUL"):
        local.read_path("a\0b")


@pytest.mark.contract("R-79")
def test_readers_never_see_half_a_file(local: LocalFileSystem) -> None:
    """Whoever reads while others write sees one of the contents, whole."""
    contents = [bytes([number]) * 300_000 for number in range(4)]
    local.write_path("a", contents[0])
    done = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not done.is_set():
            seen.add(local.read_path("a"))

    def write(content: bytes) -> None:
        for _ in range(20):
            local.write_path("a", content)

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in [reader, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert seen <= set(contents)
    assert [path.name for path in Path(local.resolve_path(".")).iterdir()] == ["a"]


@pytest.mark.contract("R-79")
def test_a_failed_write_leaves_what_was_there(
    local: LocalFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the content cannot be moved into place, the old one stays, and no temporary file does."""
    local.write_path("a", b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(StorageError, match="disk full"):
        local.write_path("a", b"new")
    assert local.read_path("a") == b"old"
    assert [path.name for path in Path(local.resolve_path(".")).iterdir()] == ["a"]


def test_fingerprint(local: LocalFileSystem) -> None:
    """A fingerprint changes with every write; nothing, and a file that was just written, has none."""
    assert local.fingerprint("a") is None
    path = Path(local.write_path("a", b"1"))
    os.utime(path, (1, 1))
    first = local.fingerprint("a")
    assert first == local.fingerprint("a") is not None
    local.write_path("a", b"1")
    os.utime(path, (1, 1))
    assert local.fingerprint("a") not in (None, first)
    os.utime(path, (2**33, 2**33))
    assert local.fingerprint("a") is None


# What fsspec reaches


@pytest.mark.contract("R-62")
@pytest.mark.parametrize("base", ["folder", "/folder", "://x", ""])
def test_remote_base_needs_a_scheme(base: str) -> None:
    """A base path without a scheme is refused."""
    with pytest.raises(ConfigurationError, match="needs a scheme"):
        RemoteFileSystem(base)


@pytest.mark.contract("R-62")
@pytest.mark.parametrize(
    "path", ["s3://bucket/a", "memory://other/a", "memory://base-2/a", "../a", "memory://base/../x"]
)
def test_remote_paths_stay_inside(path: str) -> None:
    """A path with another scheme, or outside of the base path, is a ValueError."""
    with pytest.raises(ValueError, match="base path 'memory://base'"):
        RemoteFileSystem("memory://base").read_path(path)


@pytest.mark.contract("R-62")
def test_remote_driver_missing() -> None:
    """A scheme whose package is not installed is a RuntimeError, an unknown one a configuration error."""
    with pytest.raises(RuntimeError, match=r"s3://bucket.*not installed.*s3fs"):
        RemoteFileSystem("s3://bucket/a").read_path("b")
    assert issubclass(StorageDriverMissing, RuntimeError)
    with pytest.raises(ConfigurationError, match="Unable to find a file system for 'nonsense://x'"):
        RemoteFileSystem("nonsense://x").read_path("b")


def test_remote_folders_are_made(tmp_path: Path) -> None:
    """A file system that has folders gets them."""
    system = RemoteFileSystem(f"file://{tmp_path}/new")
    system.write_path("a/b", b"1")
    assert (tmp_path / "new" / "a" / "b").read_bytes() == system.read_path("a/b") == b"1"
    with pytest.raises(StorageError, match="is not a file"):
        system.read_path("a")


def test_remote_settings_stay_secret() -> None:
    """Settings go to the file system and nowhere else."""
    system = RemoteFileSystem("memory://base", {"password": "secret"})
    assert "secret" not in repr(system)
    assert system != RemoteFileSystem("memory://base")
    assert RemoteFileSystem("memory://").resolve_path("a") == "memory://a"


# Nothing


@pytest.mark.contract("R-57")
def test_null_file_system() -> None:
    """A file system that keeps nothing takes everything and has nothing."""
    system = NullFileSystem()
    assert isinstance(system, ReadableFileSystem)
    assert system.write_path("a", b"1") == "a"
    for method in (system.read_path, system.delete_path):
        with pytest.raises(StoragePathMissing, match="keeps nothing"):
            method("a")
    assert system == NullFileSystem() != LocalFileSystem()


def test_what_is_there_can_be_asked(tmp_path: Path) -> None:
    """Files and folders are there; what no path leads to is not, and nothing is raised."""
    storage = LocalFileSystem(tmp_path)
    storage.write_path("a/b", b"1")
    assert [storage.exists(path) for path in ("a/b", "a", "b", "a/b/c", "x" * 5_000, "a\0b", "\ud800")] == [
        True,
        True,
        *[False] * 5,
    ]
