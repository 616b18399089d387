"""What the type checkers infer about the package itself."""

from typing import assert_type

import mainspring

assert_type(mainspring.__version__, str)
