"""What a run is."""

from .loading import dump_recipe, load_recipe
from .schema import OwnData, Recipe, TofuData

__all__ = ["OwnData", "Recipe", "TofuData", "dump_recipe", "load_recipe"]
