"""The parameters of flows: checked by their annotations, converted, and described as a JSON schema.

pydantic does what takes more than a look at a value's type. It is imported when that is met for the first time.
"""

from typing import TYPE_CHECKING

from mainspring._imports import names_on_use

if TYPE_CHECKING:
    from mainspring._parameters.schema import schema_of
    from mainspring._parameters.validator import ParameterValidator

__all__ = ["ParameterValidator", "schema_of"]

__getattr__, __dir__ = names_on_use(
    __name__,
    {
        ".schema": ["schema_of"],
        ".validator": ["ParameterValidator"],
    },
)
