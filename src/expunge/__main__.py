"""`python -m expunge`, also for `accelerate launch -m expunge run recipe.yaml`."""

from .cli import main

main()
