"""What a run is."""

from .data import OwnData, TofuData
from .loading import dump_recipe, load_recipe
from .schema import Recipe

__all__ = ["OwnData", "Recipe", "TofuData", "dump_recipe", "load_recipe"]
