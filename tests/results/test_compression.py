"""Compression by zstd and lz4, and what it has to give back."""

import base64
import pickle
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from typing import Any

import hypothesis.strategies as st
import lz4.frame
import pytest
import zstandard
from hypothesis import given
from packaging.requirements import Requirement

from mainspring import flow, get_client
from mainspring.exceptions import ConfigurationError, SerializationError
from mainspring.results import ResultRecord, ResultRecordMetadata
from mainspring.serializers import (
    CompressedPickleSerializer,
    CompressedSerializer,
    JSONSerializer,
    LZ4Serializer,
    PickleSerializer,
    Serializer,
    UnknownSerializer,
    ZstdSerializer,
)
from tests.architecture.source import ROOT

FORMATS = {
    "zstd": (ZstdSerializer, zstandard),
    "lz4": (LZ4Serializer, lz4.frame),
}
LIBRARIES = ["bz2", "lz4", "lz4.frame", "lzma", "zlib", "zstandard", "zstd"]
VALUE = {"rows": list(range(1000)), "text": "to be or not to be " * 100}

for_each_format = pytest.mark.parametrize("name", FORMATS)


def hide(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Let it seem that a package is not installed."""
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)


@pytest.mark.contract("SZ-2")
@for_each_format
def test_formats_have_a_type(name: str) -> None:
    """The name of a format is a type, which compresses pickles if nothing else is said."""
    serializer = Serializer(type=name)
    assert type(serializer) is FORMATS[name][0]
    assert serializer.serializer == PickleSerializer()
    assert serializer.loads(serializer.dumps(VALUE)) == VALUE
    other = Serializer(type=name, serializer="json")
    assert other.serializer == JSONSerializer()
    assert Serializer.from_configuration(other.configuration()) == other


@pytest.mark.contract("SZ-14")
@for_each_format
def test_formats_are_names_of_libraries(name: str) -> None:
    """The name of a format may stand for its library, and what is written is of that format, as base64."""
    serializer = CompressedSerializer(serializer="json", compressionlib=name)
    blob = serializer.dumps(VALUE)
    library: Any = FORMATS[name][1]
    assert JSONSerializer().loads(library.decompress(base64.b64decode(blob, validate=True))) == VALUE
    assert serializer.configuration()["compressionlib"] == name


@pytest.mark.parametrize("library", LIBRARIES)
def test_pickles_are_compressed_as_they_are(library: str) -> None:
    """What is compressed is the pickle, not its text in base64, in which much less repeats."""
    content = bytes(range(256)) * 400
    blob = CompressedPickleSerializer(compressionlib=library).dumps(content)
    assert len(blob) < len(CompressedSerializer(serializer=AsText(), compressionlib=library).dumps(content))


class AsText(PickleSerializer):
    """Pickles in base64, whatever they are for."""

    type: str = "pickle as text"

    def dumps_binary(self, obj: Any) -> bytes:
        return self.dumps(obj)


@pytest.mark.parametrize("library", LIBRARIES)
def test_compressed_text_of_pickles_is_read(library: str) -> None:
    """Also compressed pickles that were written as base64 text are read."""
    blob = CompressedSerializer(serializer=AsText(), compressionlib=library).dumps(VALUE)
    assert CompressedPickleSerializer(compressionlib=library).loads(blob) == VALUE


def test_pickles_without_a_start_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle that could be base64 text is compressed as base64 text, so that it cannot be misread."""
    monkeypatch.setattr(pickle, "dumps", lambda obj: b"Tm9uZQ==")
    monkeypatch.setattr(pickle, "loads", lambda blob: blob)
    serializer = CompressedSerializer(serializer=PickleSerializer(picklelib="pickle"))
    assert serializer.loads(serializer.dumps(1)) == b"Tm9uZQ=="


@pytest.mark.contract("SZ-14")
@pytest.mark.parametrize(
    ("kind", "package"),
    [("zstd", "zstandard"), ("lz4", "lz4")] if sys.version_info < (3, 14) else [("lz4", "lz4")],
)
def test_missing_package(monkeypatch: pytest.MonkeyPatch, kind: str, package: str) -> None:
    """Without its package a format is a configuration error that says what to install: an extra that has it."""
    hide(monkeypatch, package)
    with pytest.raises(ConfigurationError, match=rf"pip install 'mainspring\[{kind}\]'"):
        Serializer(type=kind)
    with pytest.raises(ConfigurationError, match=rf"pip install 'mainspring\[{kind}\]'"):
        CompressedPickleSerializer(compressionlib=kind)
    stranger = Serializer.from_configuration({"type": kind})
    assert type(stranger) is UnknownSerializer
    with pytest.raises(RuntimeError, match=rf"pip install 'mainspring\[{kind}\]'$"):
        stranger.loads(b"")


@pytest.mark.parametrize(("extra", "module"), [("arrow", "pyarrow"), ("lz4", "lz4"), ("zstd", "zstandard")])
def test_extras_bring_the_packages(extra: str, module: str) -> None:
    """The extra that a message names has the package in which the module is."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    brought = {Requirement(text).name for text in project["optional-dependencies"][extra]}
    assert brought == set(packages_distributions()[module])


def test_formats_load_on_use() -> None:
    """Importing the serializers loads no compression library that is not in the standard library."""
    program = "import sys, mainspring.serializers; print({'lz4', 'zstandard', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@for_each_format
def test_results_of_runs(name: str) -> None:
    """A run may have its result kept under the name of a format."""

    @flow(result_serializer=name)
    def report() -> dict[str, Any]:
        return VALUE

    assert report() == VALUE
    (run,) = get_client().read_flow_runs(limit=1)
    assert run.state is not None
    assert run.state.data.serializer.type == name
    assert run.state.result() == VALUE


@pytest.mark.parametrize("library", LIBRARIES)
@given(value=st.binary() | st.lists(st.integers()) | st.text(st.characters(exclude_categories=["Cs"])))
def test_every_library_gives_back_everything(library: str, value: Any) -> None:
    """Values come back through each of the libraries, also empty ones."""
    serializer = CompressedPickleSerializer(compressionlib=library)
    assert serializer.loads(serializer.dumps(value)) == value


@pytest.mark.parametrize("library", LIBRARIES)
@given(data=st.data())
def test_a_part_is_no_value(library: str, data: st.DataObject) -> None:
    """Output that was cut off is refused."""
    metadata = ResultRecordMetadata(serializer=CompressedPickleSerializer(compressionlib=library))
    payload = metadata.serializer.dumps(VALUE)
    end = data.draw(st.integers(0, len(payload) - 1))
    with pytest.raises(SerializationError):
        ResultRecord.from_payload(payload[:end], metadata)
