"""The parameters of flows: checked by their annotations, converted, and described as a JSON schema.

pydantic does what takes more than a look at a value's type. It is imported when that is met for the first time.
"""

from mainspring._parameters.schema import schema_of
from mainspring._parameters.validator import ParameterValidator

__all__ = ["ParameterValidator", "schema_of"]
