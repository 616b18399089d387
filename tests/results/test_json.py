"""JSON and MessagePack: the form of Python objects, and which ones are made again."""

import io
import json
import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest

from mainspring.exceptions import ConfigurationError, SerializationError
from mainspring.serializers import (
    JSONSerializer,
    MessagePackSerializer,
    Serializer,
    json_object_decoder,
    json_object_encoder,
    register_json_type,
)
from tests.results import samples
from tests.results.samples import Blob, CodedError, Frozen, Model, Page, PlainError, Point, Silent

VALUES = [
    UUID(int=7),
    bytes(range(256)),
    b"",
    bytearray(b"\xff"),
    {1, 2},
    frozenset({"a"}),
    1 + 2j,
    range(0, 10, 3),
    Decimal("1.10"),
    Fraction(1, 3),
    datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    datetime(2026, 1, 2),  # noqa: DTZ001 - naive ones are values, too
    date(2026, 1, 2),
    time(1, 2, 3),
    timedelta(days=-1, microseconds=5),
    Path("a/b"),
    PurePosixPath("/x"),
    *samples.OBJECTS,
]
SERIALIZERS = [JSONSerializer(), MessagePackSerializer()]
ids = [type(serializer).__name__ for serializer in SERIALIZERS]
for_both = pytest.mark.parametrize("serializer", SERIALIZERS, ids=ids)

calls: list[Any] = []


def encode(obj: Any) -> Any:
    calls.append(obj)
    return {"made by": "us"}


def decode(d: dict[str, Any]) -> Any:
    calls.append(d)
    return d


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    """A JSON library whose calls are listed; import path `made_up_json`."""
    seen: list[tuple[Any, dict[str, Any]]] = []
    module = ModuleType("made_up_json")

    def dumps(obj: Any, **kwargs: Any) -> str:
        seen.append((obj, kwargs))
        return "{}"

    def loads(text: str, **kwargs: Any) -> Any:
        seen.append((text, kwargs))

    vars(module).update(dumps=dumps, loads=loads)
    monkeypatch.setitem(sys.modules, "made_up_json", module)
    return seen


@pytest.mark.contract("SZ-13")
@for_both
@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_objects_round_trip(serializer: Serializer[Any], value: Any) -> None:
    """Objects of the usual types come back equal and with their type, alone and inside of others."""
    loaded = serializer.loads(serializer.dumps(value))
    assert loaded == value
    assert type(loaded) is (Page if isinstance(value, Page) else type(value))
    nested = {"a": [value, {"b": value}]}
    assert serializer.loads(serializer.dumps(nested)) == nested
    within = Model(n=1, inner=value)
    assert serializer.loads(serializer.dumps(within)) == within


@pytest.mark.contract("SZ-8")
def test_defaults() -> None:
    """By default the standard library is used with our hooks, and the output is UTF-8."""
    serializer = JSONSerializer()
    assert serializer.jsonlib == "json"
    assert serializer.object_encoder == "mainspring.serializers.json_object_encoder"
    assert serializer.object_decoder == "mainspring.serializers.json_object_decoder"
    assert serializer.dumps_kwargs == {} == serializer.loads_kwargs
    assert JSONSerializer(dumps_kwargs={"ensure_ascii": False}).dumps("é") == '"é"'.encode()


@pytest.mark.contract("SZ-9")
def test_reserved_arguments() -> None:
    """The arguments that we pass ourselves cannot be given, and the message says what to use."""
    with pytest.raises(ConfigurationError, match=r"'default'.*object_encoder"):
        JSONSerializer(dumps_kwargs={"default": str})
    with pytest.raises(ConfigurationError, match=r"'object_hook'.*object_decoder"):
        JSONSerializer(loads_kwargs={"object_hook": dict})


@pytest.mark.contract("SZ-10")
def test_library_is_called_with_hooks(library: list[tuple[Any, dict[str, Any]]]) -> None:
    """The library gets our hooks and the further arguments, and text to load."""
    serializer = JSONSerializer(jsonlib="made_up_json", dumps_kwargs={"a": 1}, loads_kwargs={"b": 2})
    assert serializer.dumps([1]) == b"{}"
    serializer.loads("é".encode())
    assert library == [
        ([1], {"default": json_object_encoder, "a": 1}),
        ("é", {"object_hook": json_object_decoder, "b": 2}),
    ]


@pytest.mark.contract("SZ-10")
def test_library_is_called_without_hooks(library: list[tuple[Any, dict[str, Any]]]) -> None:
    """Without hooks the library does not get the arguments for them."""
    serializer = JSONSerializer(jsonlib="made_up_json", object_encoder=None, object_decoder=None)
    serializer.dumps([1])
    serializer.loads(b"1")
    assert library == [([1], {}), ("1", {})]


def test_hooks_are_checked() -> None:
    """A hook that cannot be imported is an error at once."""
    with pytest.raises(ConfigurationError, match=r"no function with the import path 'nonsense.encode'"):
        JSONSerializer(object_encoder="nonsense.encode")


@pytest.mark.contract("SZ-17")
def test_custom_hooks() -> None:
    """A custom encoder gets only what the library cannot handle, a custom decoder every dict; ours get nothing."""
    calls.clear()
    serializer = JSONSerializer(object_encoder=f"{__name__}.encode", object_decoder=f"{__name__}.decode")
    blob = serializer.dumps({"a": {"b": 1}, "c": Point(1, 2), "d": UUID(int=1)})
    assert calls == [UUID(int=1)]
    calls.clear()
    described = {"__class__": "uuid.UUID", "data": "x"}
    loaded = serializer.loads(blob)
    assert loaded == {"a": {"b": 1}, "c": [1, 2], "d": {"made by": "us"}}
    assert calls == [{"b": 1}, {"made by": "us"}, loaded]
    assert serializer.loads(json.dumps(described).encode()) == described


@pytest.mark.contract("SZ-11")
def test_encoder() -> None:
    """Exceptions are written by path and message, other objects by path and what they are made of."""
    assert json_object_encoder(ValueError("no")) == {
        "__exc_type__": "builtins.ValueError",
        "message": "no",
    }
    assert json_object_encoder(UUID(int=1)) == {
        "__class__": "uuid.UUID",
        "data": "00000000-0000-0000-0000-000000000001",
    }
    assert json_object_encoder(Blob("a", b"", ())) == {
        "__class__": "tests.results.samples.Blob",
        "data": {
            "name": "A",
            "content": {"__class__": "builtins.bytes", "data": ""},
            "tags": {"__class__": "builtins.tuple", "data": []},
            "size": 0,
        },
    }


@pytest.mark.contract("SZ-12")
def test_decoder() -> None:
    """A description becomes what it describes; any other dict is returned as it is."""
    for value in (Frozen(3), UUID(int=3), Model(n=2)):
        assert json.loads(json.dumps(json_object_encoder(value)), object_hook=json_object_decoder) == value
    for plain in [{}, {"a": 1}, {"__class__": "uuid.UUID"}, {"__class__": 1, "data": 2}, {"data": 1}]:
        assert json_object_decoder(plain) is plain


@pytest.mark.contract("SZ-12")
@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("tests.results.samples.Blob", {"name": "a"}),
        ("tests.results.samples.Blob", {"name": "a", "content": b"", "more": 1}),
        ("tests.results.samples.Model", {"number": "many"}),
        ("tests.results.samples.Packed", {"nonsense": 1}),
        ("tests.results.samples.Row", {"_number": 1, "nonsense": 1}),
        ("tests.results.samples.Colour", "BLUE"),
        ("tests.results.samples.Numbers", ["many"]),
        ("uuid.UUID", "x"),
    ],
)
def test_data_is_validated(path: str, data: Any) -> None:
    """Data that does not fit its class is an error that names the class."""
    with pytest.raises(SerializationError, match=path):
        json_object_decoder({"__class__": path, "data": data})


@pytest.mark.contract("SZ-13", "SZ-18")
@for_both
@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        PlainError("é"),
        PlainError(),
        KeyError("a"),
        PlainError("a", 2, (b"x", UUID(int=1))),
        CodedError(3, "no"),
        KeyboardInterrupt("stop"),
        OSError(2, "no such file"),
    ],
    ids=repr,
)
def test_exceptions_round_trip(serializer: Serializer[Any], error: BaseException) -> None:
    """An exception comes back with its type and arguments."""
    loaded = serializer.loads(serializer.dumps([error]))[0]
    assert type(loaded) is type(error)
    assert loaded.args == error.args


@pytest.mark.contract("SZ-19")
def test_generic_models() -> None:
    """A parametrised generic model is written as its origin, which can be imported."""
    described = json_object_encoder(Page[int](items=[1]))
    assert described == {"__class__": "tests.results.samples.Page", "data": {"items": [1]}}
    assert type(json_object_decoder(described)) is Page


@pytest.mark.contract("SZ-20")
def test_open_files_are_not_read(tmp_path: Path) -> None:
    """An open file becomes a text that names it."""
    path = tmp_path / "rows.txt"
    path.write_text("secret")
    with path.open() as file:
        written = JSONSerializer().dumps({"file": file, "buffer": io.BytesIO(b"secret")})
        assert file.tell() == 0
    assert "rows.txt" in JSONSerializer().loads(written)["file"]
    assert b"secret" not in written


@pytest.mark.contract("SZ-21")
@pytest.mark.parametrize(
    "path", ["nonsense.NoError", "builtins.NoError", "builtins.print", "builtins.dict", 3]
)
def test_refused_exceptions(path: Any) -> None:
    """What is not the path of an exception is not made into one."""
    with pytest.raises(ValueError, match="is not the import path of an exception"):
        json_object_decoder({"__exc_type__": path, "message": "x"})


@pytest.mark.contract("SZ-21")
@pytest.mark.parametrize("path", ["nonsense.Class", "uuid.Nonsense", "", "..", "a b.c", "f.<locals>.C"])
def test_classes_that_are_not_there(path: str) -> None:
    """A class that cannot be imported leaves its description as it is."""
    described = {"__class__": path, "data": 1}
    assert json_object_decoder(described) is described


@pytest.mark.contract("SZ-23")
@pytest.mark.parametrize("path", ["subprocess.Popen", "os.system", "tests.results.samples.Silent", "os.path"])
def test_only_classes_that_say_how(path: str) -> None:
    """A class or function that does not say how it is built is never called."""
    with pytest.raises(SerializationError, match="Refused to make"):
        json_object_decoder({"__class__": path, "data": {"args": "true"}})


@pytest.mark.contract("SZ-23")
def test_strict() -> None:
    """Strict decoding imports nothing, and refuses what is not there; by default a module is imported."""
    blob = json.dumps({"__class__": "this.s", "data": 1}).encode()
    program = f"""
import sys
from mainspring.exceptions import SerializationError
from mainspring.serializers import JSONSerializer
try:
    JSONSerializer(strict=True).loads({blob!r})
except SerializationError as error:
    print("not loaded" in str(error), "this" in sys.modules)
for kind in ("__class__", "__exc_type__"):
    try:
        JSONSerializer(strict=True).loads(b'{{"%b": "this.s", "message": 1}}' % kind.encode())
    except SerializationError:
        print("refused")
sys.stdout = open("/dev/null", "w")  # the module prints
try:
    JSONSerializer().loads({blob!r})
except SerializationError as error:
    print("Refused to make" in str(error), "this" in sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "True False\nrefused\n"
    assert done.stderr == "True True\n"


@pytest.mark.contract("SZ-23")
def test_registered_types() -> None:
    """A class that says nothing can be registered, with what it is made of."""
    register_json_type(Silent, lambda silent: {"made": (silent.made,)}, lambda data: Silent())
    loaded = JSONSerializer().loads(JSONSerializer().dumps([Silent()]))
    assert type(loaded[0]) is Silent


@for_both
@pytest.mark.parametrize(
    "value",
    [object(), lambda: 1, samples.Secret(password="x"), type("Local", (PlainError,), {})("x"), 1j.conjugate],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_made_again_is_refused(serializer: Serializer[Any], value: Any) -> None:
    """An object that could not be made again, or only without what it hides, is an error when it is written."""
    with pytest.raises(TypeError):
        serializer.dumps({"a": value})


def test_local_classes_are_refused() -> None:
    """A class that only its function knows is an error when it is written."""
    local = type("Local", (samples.Blob,), {"__qualname__": "f.<locals>.Local"})
    with pytest.raises(TypeError, match="cannot be imported"):
        JSONSerializer().dumps(local("a", b""))


def test_plain_data_follows_json() -> None:
    """In plain data tuples become lists and keys texts; inside of objects they stay what they are."""
    serializer = JSONSerializer()
    assert serializer.loads(serializer.dumps({1: (2, 3)})) == {"1": [2, 3]}
    within = Model(n=1, inner={1: (2, 3), "p": Point(1, 2), "l": samples.Level.HIGH})
    loaded = serializer.loads(serializer.dumps(within)).inner
    assert loaded == {1: (2, 3), "p": Point(1, 2), "l": samples.Level.HIGH}
    assert (type(loaded["p"]), type(loaded["l"])) == (Point, samples.Level)


def test_own_code_is_not_applied_twice() -> None:
    """What a class makes of its arguments is stored and set as it is."""
    blob = Blob("a", b"xyz")
    blob.size = 7
    blob.name = "b"
    loaded = JSONSerializer().loads(JSONSerializer().dumps(blob))
    assert (loaded.name, loaded.size) == ("b", 7)
