"""Classes that results are made of, in a module that can be imported again."""

import dataclasses
import enum
from typing import Any, Generic, NamedTuple, TypeVar

import attrs
import msgspec
import pydantic

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "r"


class Level(enum.IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Blob:
    name: str
    content: bytes
    tags: tuple[Any, ...] = ()
    size: int = dataclasses.field(init=False, default=0)

    def __post_init__(self) -> None:
        self.size = len(self.content)
        self.name = self.name.upper()


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    key: int


@attrs.define
class Row:
    _number: int
    cells: list[Any] = attrs.Factory(list)


class Packed(msgspec.Struct, frozen=True):
    number: int
    inner: Any = None


class Model(pydantic.BaseModel):
    number: int = pydantic.Field(alias="n")
    inner: Any = None
    pair: tuple[int, int] = (0, 0)


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]


class Address(pydantic.BaseModel):
    url: pydantic.HttpUrl


class Secret(pydantic.BaseModel):
    password: pydantic.SecretStr


class Numbers(pydantic.RootModel[list[int]]):
    pass


class PlainError(Exception):
    """An exception like most are."""


class CodedError(Exception):
    """An exception whose arguments are not what it keeps."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


class Silent:
    """Does not say how it is built."""

    def __init__(self) -> None:
        self.made = True


OBJECTS = [
    Colour.RED,
    Blob("a", bytes(range(256)), (1, (2, 3), {4: b"\xff"})),
    Frozen(1),
    Row(1, [Row(2), "x"]),
    Packed(1, Packed(2, (3,))),
    Model(n=1, inner=[Frozen(2), {"a": (1,)}], pair=(3, 4)),
    Page[int](items=[1, 2]),
    Address(url="https://example.org/x"),
    Numbers([1, 2]),
]
