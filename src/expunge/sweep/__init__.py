"""Many runs of one recipe whose settings are searched for: `expunge sweep`.

Importing it raises `InputError` where optuna is not installed, which draws the values and keeps the trials.
"""

from importlib.util import find_spec

from ..errors import InputError, Problem

if find_spec("optuna") is None:
    raise InputError(
        Problem("sweep", "a sweep needs optuna, which is not installed.", "pip install 'expunge[sweep]'")
    )
