"""Which parameters carry the forget set. A new estimator is one file here, imported below."""

from . import factored, full_map, vila
from .estimator import estimators
from .measure import measure_importance

__all__ = ["estimators", "factored", "full_map", "measure_importance", "vila"]
