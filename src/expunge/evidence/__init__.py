"""A signed statement of what was forgotten, measured and not covered, and its check. It proves origin, not forgetting.

Importing this, and `verify`, loads neither torch nor numpy: who checks a statement needs only the file.
"""

from .merkle import merkle_root
from .verify import Check, verify_statement

__all__ = ["Check", "merkle_root", "verify_statement"]
