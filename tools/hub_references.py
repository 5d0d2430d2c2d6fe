"""What `transformers` generates with a folder in the layout of the Hugging Face hub, whatever its kind."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from hub_captions import Reference
from hub_florence import FlorenceReference
from hub_llava import LlavaReference

KINDS: dict[str, type[Reference]] = {"florence2": FlorenceReference, "llava": LlavaReference}


def open_reference(folder: Path, weights: Path) -> Reference:
    """The reference that fits a folder."""
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    return KINDS.get(kind, Reference)(folder, weights)
