"""What all serializers share, pickles, and compression."""

import base64
import pickle
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import pydantic
import pytest

from mainspring.exceptions import ConfigurationError
from mainspring.serializers import (
    CompressedJSONSerializer,
    CompressedPickleSerializer,
    CompressedSerializer,
    JSONSerializer,
    MessagePackSerializer,
    PickleSerializer,
    Serializer,
    UnknownSerializer,
)

TYPES = {
    "pickle": PickleSerializer,
    "json": JSONSerializer,
    "msgpack": MessagePackSerializer,
    "compressed/pickle": CompressedPickleSerializer,
    "compressed/json": CompressedJSONSerializer,
}
VALUES: list[Any] = [None, False, 0, "", {}, [], 1.5, "é", {"a": [1, {"b": None}]}]


def define(kind: str = "reversed") -> type[Serializer[str]]:
    """A serializer as a user would define it."""

    class Reversed(Serializer[str]):
        type: str = kind
        encoding: str = "utf-8"

        def dumps(self, obj: str) -> bytes:
            return obj[::-1].encode(self.encoding)

        def loads(self, blob: bytes) -> str:
            return blob.decode(self.encoding)[::-1]

    return Reversed


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An empty module that can be imported as `made_up`."""
    module = ModuleType("made_up")
    monkeypatch.setitem(sys.modules, "made_up", module)
    return module


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("value", VALUES)
def test_round_trip(kind: str, value: Any) -> None:
    """Each built-in serializer gives back plain values, empty ones among them."""
    serializer = Serializer(type=kind)
    blob = serializer.dumps(value)
    assert isinstance(blob, bytes)
    loaded = serializer.loads(blob)
    assert loaded == value
    assert type(loaded) is type(value)


@pytest.mark.contract("SZ-2", "SZ-15")
@pytest.mark.parametrize("kind", TYPES)
def test_types_are_registered(kind: str) -> None:
    """A type gives the class that is registered for it."""
    assert type(Serializer(type=kind)) is TYPES[kind]


@pytest.mark.contract("SZ-1")
def test_unknown_options_are_refused() -> None:
    """An option that a serializer does not have is an error that lists those it has."""
    with pytest.raises(ConfigurationError, match=r"'colour'.*picklelib"):
        PickleSerializer(colour="red")  # type: ignore[call-arg]


@pytest.mark.contract("SZ-1")
def test_serializer_itself_is_abstract() -> None:
    """Without a type there is nothing to make, and a class without both methods cannot be used."""

    class Half(Serializer[Any]):
        type: str = "half"

        def dumps(self, obj: Any) -> bytes:
            return b""

    with pytest.raises(ConfigurationError, match="no serializer of type None"):
        Serializer()
    with pytest.raises(TypeError, match="both dumps and loads"):
        Half()


@pytest.mark.contract("SZ-2")
def test_subclass_registers_itself() -> None:
    """A subclass with a type is found by it, and takes its options by keyword."""
    kind = define()
    serializer = Serializer(type="reversed", encoding="latin-1")
    assert type(serializer) is kind
    assert serializer.dumps("aé") == b"\xe9a"
    assert serializer == kind(encoding="latin-1") != kind()


@pytest.mark.contract("SZ-2")
def test_fields_of_models() -> None:
    """A field of a pydantic model takes a serializer or its configuration, and is dumped as the latter."""

    class Options(pydantic.BaseModel):
        serializer: Serializer[Any]

    json = JSONSerializer(dumps_kwargs={"indent": 2})
    assert Options(serializer=json).serializer is json
    described = Options(serializer=json).model_dump()
    assert described["serializer"]["dumps_kwargs"] == {"indent": 2}
    assert Options(**described).serializer == json
    with pytest.raises(pydantic.ValidationError, match="'nonsense'"):
        Options(serializer={"type": "nonsense"})  # type: ignore[arg-type]


@pytest.mark.contract("SZ-3")
def test_later_type_wins_with_a_warning() -> None:
    """Of two subclasses with one type the later one is used, and there is a warning."""
    define()
    with pytest.warns(UserWarning, match=r"'reversed'.*taken over"):
        later = define()
    assert type(Serializer(type="reversed")) is later


@pytest.mark.contract("SZ-4")
def test_unregistered_type() -> None:
    """A type that nobody registered is a configuration error, which is a ValueError, and lists the types."""
    with pytest.raises(ConfigurationError, match=r"type 'nonsense'.*json, lz4, msgpack, pickle"):
        Serializer(type="nonsense")
    assert issubclass(ConfigurationError, ValueError)


def test_type_of_a_class_is_fixed() -> None:
    """A class cannot be given the type of another one."""
    with pytest.raises(ConfigurationError, match="'json', not 'pickle'"):
        JSONSerializer(type="pickle")


def test_missing_option() -> None:
    """An option without a default has to be given."""
    with pytest.raises(ConfigurationError, match="needs a value for its option 'serializer'"):
        CompressedSerializer()  # type: ignore[call-arg]


def test_serializers_are_immutable() -> None:
    """Options cannot be changed afterwards, as stores share serializers."""
    with pytest.raises(AttributeError, match="immutable"):
        JSONSerializer().jsonlib = "orjson"  # type: ignore[misc]


@pytest.mark.parametrize("kind", TYPES)
def test_serializers_are_values(kind: str) -> None:
    """Equal types and options make equal serializers with equal hashes, also after pickling."""
    serializer = Serializer(type=kind)
    copy = pickle.loads(pickle.dumps(serializer))
    assert copy == serializer
    assert hash(copy) == hash(serializer)
    assert serializer != define()()


@pytest.mark.contract("SZ-16")
@pytest.mark.parametrize(
    "serializer",
    [
        PickleSerializer(picklelib="pickle"),
        JSONSerializer(dumps_kwargs={"sort_keys": True}, object_decoder=None, strict=True),
        CompressedSerializer(serializer=JSONSerializer(dumps_kwargs={"indent": 1}), compressionlib="zlib"),
        CompressedPickleSerializer(compressionlib="bz2"),
        MessagePackSerializer(),
    ],
    ids=repr,
)
def test_configuration(serializer: Serializer[Any]) -> None:
    """The configuration makes an equal serializer again."""
    assert Serializer.from_configuration(serializer.configuration()) == serializer
    assert Serializer.load_configuration(serializer.dump_configuration()) == serializer


def test_configuration_of_a_type_that_comes_later() -> None:
    """What a configuration means is found out anew when a type was defined since."""
    written = b'{"type":"defined later","encoding":"ascii"}'
    assert isinstance(Serializer.load_configuration(written), UnknownSerializer)
    first = define("defined later")
    assert type(Serializer.load_configuration(written)) is first
    with pytest.warns(UserWarning, match="taken over"):
        second = define("defined later")
    assert type(Serializer.load_configuration(written)) is second


# Pickles


@pytest.mark.contract("SZ-5")
def test_pickles_are_base64() -> None:
    """The output is base64 text of a pickle by cloudpickle, which also takes functions."""
    serializer = PickleSerializer()
    assert (serializer.type, serializer.picklelib, serializer.picklelib_version) == (
        "pickle",
        "cloudpickle",
        None,
    )
    blob = serializer.dumps(lambda x: x + 1)
    assert blob.isascii()
    assert pickle.loads(base64.b64decode(blob))(1) == serializer.loads(blob)(1) == 2


@pytest.mark.parametrize(
    "value",
    [
        *VALUES,
        (1, [2, {"x": None}]),
        "x" * 300,
        [["a"] * 3] * 3,
        {"k": "k", (1, "k"): 1j},
        2**90,
        b"\x80",
        -0.0,
    ],
    ids=repr,
)
def test_plain_values_are_pickled_as_by_cloudpickle(value: Any) -> None:
    """A small value of built-in types is written without cloudpickle's pickler, to the same bytes."""
    assert base64.b64decode(PickleSerializer().dumps(value)) == cloudpickle.dumps(value)


def test_whatever_else_is_pickled_by_cloudpickle() -> None:
    """A function deep inside, a value that contains itself, and one of many parts come back as they were."""
    endless: list[Any] = []
    endless.append(endless)
    for value in ({"a": [(1, lambda: 7)]}, endless, list(range(1_000))):
        back = PickleSerializer().loads(PickleSerializer().dumps(value))
        assert cloudpickle.dumps(back) == cloudpickle.dumps(value)


@pytest.mark.contract("SZ-6")
def test_pickle_library_is_a_path(library: ModuleType) -> None:
    """The library is the path of a module that has both functions; the missing one is named."""
    with pytest.raises(ValueError, match="expected as a text"):
        PickleSerializer(picklelib=pickle)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'nonsense' cannot be imported"):
        PickleSerializer(picklelib="nonsense")
    with pytest.raises(ValueError, match="does not have a 'dumps' method"):
        PickleSerializer(picklelib="made_up")
    library.dumps = pickle.dumps  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="does not have a 'loads' method"):
        PickleSerializer(picklelib="made_up")


@pytest.mark.contract("SZ-7")
def test_pickle_library_is_looked_up_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the module has when the serializer is called counts."""
    serializer = PickleSerializer(picklelib="pickle")
    monkeypatch.setattr(pickle, "dumps", lambda obj: b"patched")
    monkeypatch.setattr(pickle, "loads", lambda blob: blob)
    assert serializer.loads(serializer.dumps(1)) == b"patched"


@pytest.mark.contract("SZ-24")
def test_version_of_the_pickle_library(library: ModuleType) -> None:
    """The version that wrote is in the configuration, and reading with another one warns."""
    assert PickleSerializer().configuration()["picklelib_version"] == cloudpickle.__version__
    vars(library).update(dumps=pickle.dumps, loads=pickle.loads, __version__="1.0")
    written = PickleSerializer(picklelib="made_up")
    blob, configuration = written.dumps(1), written.configuration()
    reader = Serializer.from_configuration(configuration)
    assert reader.loads(blob) == 1
    library.__version__ = "2.0"  # type: ignore[attr-defined]
    assert reader.configuration() == configuration
    with pytest.warns(UserWarning, match=r"made_up 1\.0 meets version 2\.0"):
        reader.loads(blob)
    assert reader == written


def test_pickle_library_loads_on_use() -> None:
    """Neither making a pickle serializer nor importing serializers loads cloudpickle or pydantic."""
    program = (
        "import sys; from mainspring.serializers import PickleSerializer; PickleSerializer();"
        "print({'cloudpickle', 'pydantic', 'fsspec'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# Compression


@pytest.mark.contract("SZ-14")
@pytest.mark.parametrize("library", ["bz2", "lzma", "zlib"])
@pytest.mark.parametrize("inner", ["pickle", JSONSerializer(), {"type": "json"}])
def test_compressed(library: str, inner: Any) -> None:
    """The inner serializer may be given in three ways; the output is base64 of what the library makes."""
    serializer = CompressedSerializer(serializer=inner, compressionlib=library)
    value = ["x" * 1000] * 10
    blob = serializer.dumps(value)
    assert serializer.type == "compressed"
    assert len(base64.b64decode(blob, validate=True)) < 1000
    assert serializer.loads(blob) == value
    assert CompressedSerializer(serializer=inner).compressionlib == "lzma"


@pytest.mark.contract("SZ-14")
def test_compression_library_needs_both_functions(library: ModuleType) -> None:
    """A module without one of the functions is refused, and the function is named."""
    with pytest.raises(ConfigurationError, match="does not have a 'compress' method"):
        CompressedSerializer(serializer="json", compressionlib="made_up")
    library.compress = lambda data: data  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match="does not have a 'decompress' method"):
        CompressedSerializer(serializer="json", compressionlib="made_up")


@pytest.mark.contract("SZ-14")
def test_inner_serializer_is_checked() -> None:
    """What is no serializer cannot be compressed."""
    with pytest.raises(TypeError, match="A serializer, or the type of one"):
        CompressedSerializer(serializer=3)  # type: ignore[arg-type]


@pytest.mark.contract("SZ-15")
def test_shorthands() -> None:
    """The shorthands compress pickles and JSON."""
    assert CompressedPickleSerializer().serializer == PickleSerializer()
    assert CompressedJSONSerializer(compressionlib="zlib").serializer == JSONSerializer()
    assert CompressedPickleSerializer().type == "compressed/pickle"
    assert CompressedJSONSerializer().type == "compressed/json"


# Strangers


@pytest.mark.contract("SZ-22")
@pytest.mark.parametrize(
    "configuration",
    [
        {"type": "nonsense", "depth": 3},
        {"type": "pickle", "picklelib": "nonsense"},
        {"type": "json", "from_the_future": 1},
        {"depth": 3},
    ],
)
def test_unknown_serializer(configuration: dict[str, Any]) -> None:
    """A configuration that cannot be met is kept as it is, and refuses to write and load."""
    serializer = Serializer.from_configuration(configuration)
    assert type(serializer) is UnknownSerializer
    assert serializer.configuration() == configuration
    assert serializer == Serializer.from_configuration(dict(configuration))
    with pytest.raises(RuntimeError, match=f"{configuration.get('type')!r}.*not known"):
        serializer.loads(b"")
    with pytest.raises(RuntimeError, match="not known in this process"):
        serializer.dumps(1)


def test_unknown_serializer_copies() -> None:
    """The stand-in can be pickled, as metadata travels with states."""
    serializer = Serializer.from_configuration({"type": "nonsense", "a": [1]})
    assert cloudpickle.loads(cloudpickle.dumps(serializer)) == serializer


def test_no_warning_for_the_usual() -> None:
    """Defining a serializer with a type of its own warns of nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        define("a-new-one")


def test_a_library_that_another_thread_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library is used when its import has ended, whoever imports it."""
    text = "gate = __import__('sys').gate; gate.wait(); from pickle import dumps, loads"
    (tmp_path / "slow_library.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "gate", gate := threading.Event(), raising=False)
    gate.set()
    serializer = PickleSerializer(picklelib="slow_library")
    del sys.modules["slow_library"]
    gate.clear()
    importing = threading.Thread(target=__import__, args=["slow_library"])
    importing.start()
    while "slow_library" not in sys.modules:
        pass
    opening = threading.Timer(0.05, gate.set)  # were it too early, the test would show less, and not fail
    opening.start()
    assert serializer.loads(serializer.dumps(7)) == 7
    importing.join()
    opening.join()
    del sys.modules["slow_library"]
