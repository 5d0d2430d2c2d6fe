"""Image towers that a mapper can be trained on, and the cache of what they make of pictures."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from . import clip
from .clip import MissingTensorsError
from .data import Picture

BUILTIN = Path(__file__).parent.parent.parent / "models" / "builtin"
CHUNK = 512  # pictures in a file of the cache


class ImageTower(Protocol):
    """An image tower that training reads and that goes into the model folder."""

    output: str
    """What the mapper reads: "grid" or "embedding"."""
    cells: int
    """Cells of the grid; 0 where the tower has none."""
    width: int
    image: dict[str, Any]

    @property
    def key(self) -> str:
        """Identifies the weights."""
        ...

    def encode(self, pixels: np.ndarray) -> np.ndarray: ...

    def export(self, out: Path) -> dict[str, Any]:
        """Writes the graphs; returns the manifest's parts."""
        ...


class FolderTower:
    """The image tower of a model folder, run by ONNX Runtime. Its mapper reads the grid if there is one."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        self.folder = folder
        self.manifest = json.loads((folder / "model.json").read_text())
        self.image = self.manifest["image"]
        self.path = folder / self.image["graph"]
        self.session = onnxruntime.InferenceSession(str(self.path), providers=["CPUExecutionProvider"])
        grid = self.image.get("grid")
        self.output: str = "grid" if grid else "embedding"
        self.cells: int = grid["cells"] if grid else 0
        self.width = grid["dim"] if grid else self.image["embedding_dim"]

    @cached_property
    def key(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        return self.session.run([self.output], {"pixels": pixels})[0]

    def export(self, out: Path) -> dict[str, Any]:
        parts = {"image": self.image}
        files = [self.image["graph"]]
        if "text" in self.manifest:
            parts["text"] = dict(self.manifest["text"], tokenizer="text_tokenizer.json")
            files.append(self.manifest["text"]["graph"])
            (out / "text_tokenizer.json").write_bytes((self.folder / self.manifest["text"]["tokenizer"]).read_bytes())
        for name in files:
            (out / name).write_bytes((self.folder / name).read_bytes())
        return parts


class ClipTower:
    """A CLIP in Hugging Face's or OpenAI's form."""

    def __init__(self, path: Path) -> None:
        self.cells = 0
        try:
            self.module, _ = clip.load(path)
        except MissingTensorsError as error:
            raise SystemExit(str(error)) from error
        self.module.eval()
        self.output, self.width = "embedding", self.module.shape.out
        self.image = clip.image_spec(self.module)

    @cached_property
    def key(self) -> str:
        digest = hashlib.sha256()
        for tensor in self.module.state_dict().values():
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    @torch.no_grad()
    def encode(self, pixels: np.ndarray) -> np.ndarray:
        return self.module(torch.from_numpy(pixels)).numpy()

    def export(self, out: Path) -> dict[str, Any]:
        return {"image": clip.write_image(self.module, out, "fp32")}


def image_tower(name: str) -> ImageTower:
    path = BUILTIN if name == "built-in" else Path(name)
    return FolderTower(path) if (path / "model.json").exists() else ClipTower(path)


def pixels(path: str, image: dict[str, Any]) -> np.ndarray:
    """A picture file as the tower reads it: float32 [3,size,size]. `image` is the manifest's entry."""
    size = image["size"]
    kind = Image.Resampling.BICUBIC if image["resample"] == "bicubic" else Image.Resampling.BILINEAR
    with Image.open(path) as opened:
        x = opened.convert("RGB")
    if image["resize"] == "squash":
        x = x.resize((size, size), kind)
    else:
        w, h = x.size
        w, h = (size, int(size * h / w)) if w <= h else (int(size * w / h), size)
        x = x.resize((w, h), kind)
        left, top = round((w - size) / 2), round((h - size) / 2)
        x = x.crop((left, top, left + size, top + size))
    mean, deviation = (np.array(image[k], np.float32) for k in ("mean", "std"))
    return np.ascontiguousarray(((np.asarray(x, np.float32) / 255 - mean) / deviation).transpose(2, 0, 1))


def encode_pictures(tower: ImageTower, pictures: Sequence[Picture], work: Path, batch: int = 16) -> Tensor:
    """The tower's output for all pictures: [pictures, (cells,) width] float32.

    It is cached in a file for each CHUNK pictures, whose name depends on the tower and the pictures.
    """
    work.mkdir(parents=True, exist_ok=True)
    chunks, started = [], time.time()
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(pictures), CHUNK):
            some = pictures[start : start + CHUNK]
            names = "\n".join(f"{p.image} {Path(p.path).stat().st_size}" for p in some)
            path = work / f"pictures-{hashlib.sha256((tower.key + names).encode()).hexdigest()[:24]}.npy"
            if not path.exists():
                encoded = []
                for k in range(0, len(some), batch):
                    x = pool.map(lambda p: pixels(p.path, tower.image), some[k : k + batch])
                    encoded.append(tower.encode(np.stack(list(x))))
                part = path.with_suffix(".part.npy")
                np.save(part, np.concatenate(encoded))
                part.rename(path)
                done = start + len(some)
                print(f"pictures {done}/{len(pictures)} {done / (time.time() - started):.0f}/s", flush=True)
            chunks.append(np.load(path))
    return torch.from_numpy(np.concatenate(chunks))
