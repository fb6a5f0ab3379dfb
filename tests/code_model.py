"""A model folder with Python code in it, which leaves a mark where it is run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM
Path({mark!r}).write_text("it was run")
class OwnConfig(LlamaConfig):
    model_type = "own-llama"
class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


def with_code(model: Path, folder: Path, mark: Path, model_type: str) -> Path:
    """A copy of a Llama whose configuration names classes in `own.py`.

    model_type: `own-llama`; or `llama`, which loads without the code as well
    """
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    config |= {"model_type": model_type, "architectures": ["OwnModel"], "auto_map": own}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(CODE.format(mark=str(mark)))
    return folder
