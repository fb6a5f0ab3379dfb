"""What a run is."""

from ..benchmarks.tofu.settings import TofuData
from ..data.settings import OwnData
from .loading import dump_recipe, load_recipe
from .schema import Recipe

__all__ = ["OwnData", "Recipe", "TofuData", "dump_recipe", "load_recipe"]
