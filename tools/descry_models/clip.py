"""CLIP's towers, read from a Hugging Face folder or from OpenAI's own file, in one form that exports well.

Both layouts hold the same networks under different names. Here they get one set of names and are loaded strictly, so
that an error names the tensor that is missing or has the wrong shape.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .export import batched, write_graph

# OpenAI's preprocessing constants, the same for all of its CLIP models.
MEAN = [0.48145466, 0.4578275, 0.40821073]
STD = [0.26862954, 0.26130258, 0.27577711]

State = dict[str, Tensor]


def activation(name: str) -> Callable[[Tensor], Tensor]:
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
        "gelu": F.gelu,
        "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    }
    return functions[name]


# ---- networks --------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class TransformerShape:
    """What the image and the text transformer have in common."""

    width: int
    layers: int
    heads: int
    hidden: int
    out: int
    act: str = "quick_gelu"
    eps: float = 1e-5

    def blocks(self) -> nn.ModuleList:
        return nn.ModuleList(Block(self) for _ in range(self.layers))


class Block(nn.Module):
    """Pre-norm transformer block; queries, keys and values in one matrix."""

    def __init__(self, s: TransformerShape) -> None:
        super().__init__()
        self.heads, self.act = s.heads, activation(s.act)
        self.ln_1, self.ln_2 = nn.LayerNorm(s.width, s.eps), nn.LayerNorm(s.width, s.eps)
        self.qkv, self.out = nn.Linear(s.width, 3 * s.width), nn.Linear(s.width, s.width)
        self.fc, self.proj = nn.Linear(s.width, s.hidden), nn.Linear(s.hidden, s.width)

    def forward(self, x: Tensor, mask: Tensor | None = None, count: int | None = None) -> Tensor:
        """Runs x [N,T,W]. With `count` only the first vectors of each row are computed; they attend to all of them."""
        n, t, w = x.shape
        q, k, v = (
            z.view(n, t, self.heads, w // self.heads).transpose(1, 2) for z in self.qkv(self.ln_1(x)).split(w, 2)
        )
        if count is not None:
            x, q, t = x[:, :count], q[:, :, :count], count
        a = (q * (w // self.heads) ** -0.5) @ k.transpose(2, 3)
        if mask is not None:
            a = a + mask
        x = x + self.out((a.softmax(-1) @ v).transpose(1, 2).reshape(n, t, w))
        return x + self.proj(self.act(self.fc(self.ln_2(x))))


@dataclass(kw_only=True)
class VitShape(TransformerShape):
    size: int
    patch: int


class Vit(nn.Module):
    """Pixels [N,3,size,size] -> embedding [N,out]."""

    def __init__(self, s: VitShape) -> None:
        super().__init__()
        self.shape = s
        cells = (s.size // s.patch) ** 2
        # A convolution whose patches do not overlap, as a product of patches.
        self.patches = nn.Linear(3 * s.patch * s.patch, s.width, bias=False)
        self.cls = nn.Parameter(torch.zeros(s.width))
        self.place = nn.Parameter(torch.zeros(cells + 1, s.width))
        self.ln_pre, self.ln_post = nn.LayerNorm(s.width, s.eps), nn.LayerNorm(s.width, s.eps)
        self.blocks = s.blocks()
        self.out = nn.Linear(s.width, s.out, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        n, p, side = pixels.shape[0], self.shape.patch, self.shape.size // self.shape.patch
        x = pixels.view(n, 3, side, p, side, p).permute(0, 2, 4, 1, 3, 5).reshape(n, side * side, 3 * p * p)
        x = self.patches(x)
        x = torch.cat((self.cls.expand(x.shape[0], 1, -1), x), 1) + self.place
        x = self.ln_pre(x)
        for block in self.blocks[:-1]:
            x = block(x)
        # Only the class vector is needed.
        return self.out(self.ln_post(self.blocks[-1](x, count=1)[:, 0]))


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1. Where the picture shrinks, an average pool does it rather than a stride."""

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        wide = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(inside, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, wide, 1, bias=False), nn.BatchNorm2d(wide)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.downsample = None
        if stride > 1 or inside != wide:
            self.downsample = nn.ModuleDict({"0": nn.Conv2d(inside, wide, 1, bias=False), "1": nn.BatchNorm2d(wide)})

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.pool(F.relu(self.bn2(self.conv2(y))))
        y = self.bn3(self.conv3(y))
        if self.downsample is not None:
            x = self.downsample["1"](self.downsample["0"](self.pool(x)))
        return F.relu(x + y)


@dataclass
class ResnetShape:
    size: int
    width: int
    layers: tuple[int, ...]
    heads: int
    out: int


class Resnet(nn.Module):
    """CLIP's ResNet: a stem of three convolutions, four stages, attention of the mean over the cells."""

    def __init__(self, s: ResnetShape) -> None:
        super().__init__()
        self.shape, w = s, s.width
        self.conv1, self.bn1 = nn.Conv2d(3, w // 2, 3, 2, 1, bias=False), nn.BatchNorm2d(w // 2)
        self.conv2, self.bn2 = nn.Conv2d(w // 2, w // 2, 3, padding=1, bias=False), nn.BatchNorm2d(w // 2)
        self.conv3, self.bn3 = nn.Conv2d(w // 2, w, 3, padding=1, bias=False), nn.BatchNorm2d(w)
        inside = w
        for n, count in enumerate(s.layers):
            stage = []
            for k in range(count):
                stage.append(Bottleneck(inside, w << n, 2 if n and not k else 1))
                inside = 4 * (w << n)
            setattr(self, f"layer{n + 1}", nn.Sequential(*stage))
        cells = (s.size // 32) ** 2
        self.attnpool = nn.Module()
        self.attnpool.positional_embedding = nn.Parameter(torch.zeros(cells + 1, inside))
        for name in ("q_proj", "k_proj", "v_proj"):
            setattr(self.attnpool, name, nn.Linear(inside, inside))
        self.attnpool.c_proj = nn.Linear(inside, s.out)

    def split(self, x: Tensor) -> Tensor:
        """Vectors [N,T,W] as heads [N,H,T,W/H]."""
        n, _, w = x.shape
        return x.view(n, -1, self.shape.heads, w // self.shape.heads).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        for n in "123":
            x = F.relu(getattr(self, "bn" + n)(getattr(self, "conv" + n)(x)))
        x = F.avg_pool2d(x, 2)
        for n in "1234":
            x = getattr(self, "layer" + n)(x)
        # The global average is an operator of its own: ONNX Runtime's mean over a middle axis changes with the batch.
        mean = F.adaptive_avg_pool2d(x, 1).flatten(2)
        p = self.attnpool
        x = torch.cat((mean, x.flatten(2)), 2).transpose(1, 2) + p.positional_embedding
        n, _, w = x.shape
        q, k, v = self.split(p.q_proj(x[:, :1])), self.split(p.k_proj(x)), self.split(p.v_proj(x))
        a = ((q * (w // self.shape.heads) ** -0.5) @ k.transpose(2, 3)).softmax(-1)
        return p.c_proj((a @ v).transpose(1, 2).reshape(n, w))


@dataclass(kw_only=True)
class TextShape(TransformerShape):
    context: int
    vocab: int
    end: int = -1
    """Id of the end token; negative: the highest id of a line."""


class Text(nn.Module):
    """Ids [N,context] -> embedding [N,out], read at the end token."""

    def __init__(self, s: TextShape) -> None:
        super().__init__()
        self.shape = s
        self.table = nn.Embedding(s.vocab, s.width)
        self.place = nn.Parameter(torch.zeros(s.context, s.width))
        self.blocks = s.blocks()
        self.ln = nn.LayerNorm(s.width, s.eps)
        self.out = nn.Linear(s.width, s.out, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids) + self.place
        t = ids.shape[1]
        mask = torch.full((t, t), -1e9).triu(1)
        for block in self.blocks:
            x = block(x, mask)
        end = ids.argmax(1) if self.shape.end < 0 else ids.eq(self.shape.end).long().argmax(1)
        return self.out(self.ln(x).gather(1, end[:, None, None].expand(-1, 1, x.shape[2]))[:, 0])


# ---- tensors ---------------------------------------------------------------------------------------------------------


class MissingTensorsError(Exception):
    """Names the tensors that are absent or have another shape."""


def take(state: State, name: str, source: str) -> Tensor:
    """The tensor of this name, as float32."""
    if name not in state:
        raise MissingTensorsError(f"{source}: there is no tensor {name}")
    return state[name].float()


def fill(module: nn.Module, tensors: State, source: str) -> nn.Module:
    """Loads a module strictly; an error names the tensors that are missing or misshapen."""
    wanted, wrong = module.state_dict(), []
    for name, value in wanted.items():
        if name.endswith("num_batches_tracked"):
            tensors.setdefault(name, value)
        if name not in tensors:
            wrong.append(f"{name} is missing")
        elif tensors[name].shape != value.shape:
            wrong.append(f"{name} is {list(tensors[name].shape)}, not {list(value.shape)}")
    if wrong:
        more = f"; and {len(wrong) - 8} more" if len(wrong) > 8 else ""
        raise MissingTensorsError(f"{source}: {'; '.join(wrong[:8])}{more}")
    module.load_state_dict({n: tensors[n] for n in wanted})
    return module.eval()


def read_tensors(path: Path) -> State:
    """A state dict and nothing else. A pickle that holds more than tensors is refused."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(str(path))
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise SystemExit(f"{path}: there is no such file") from None
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise SystemExit(f"{path}: refused, it is no checkpoint of tensors alone: {reason}") from error
    if not isinstance(state, dict):
        raise SystemExit(f"{path}: refused, it holds a {type(state).__name__} and not a state dict")
    odd = [str(k) for k, v in state.items() if not torch.is_tensor(v)]
    if odd:
        raise SystemExit(f"{path}: refused, it holds more than tensors: {', '.join(odd[:5])}")
    return state


def read_folder(folder: Path, what: str) -> tuple[dict[str, Any], State]:
    """Configuration and tensors of a Hugging Face folder."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise SystemExit(f"{folder}: not a folder of {what}: {error}") from error
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        raise SystemExit(f"{folder}: there is no model.safetensors and no pytorch_model.bin")
    state: State = {}
    for f in files:
        state.update(read_tensors(f))
    return config, state


def read_openai(path: Path) -> State:
    """OpenAI's files are TorchScript archives; copies of their weights alone are state dicts."""
    try:
        state = torch.jit.load(str(path), map_location="cpu").state_dict()
    except RuntimeError:
        state = read_tensors(path)
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def count_layers(state: State, pattern: str) -> int:
    """How many layers there are under `pattern`, which has one {}."""
    n = 0
    while any(k.startswith(pattern.format(n)) for k in state):
        n += 1
    return n


# Names of a block's tensors in each layout; several names are one matrix here.
HUGGING_FACE_BLOCK = {
    "ln_1": ["layer_norm1.{}"],
    "ln_2": ["layer_norm2.{}"],
    "out": ["self_attn.out_proj.{}"],
    "fc": ["mlp.fc1.{}"],
    "proj": ["mlp.fc2.{}"],
    "qkv": ["self_attn.q_proj.{}", "self_attn.k_proj.{}", "self_attn.v_proj.{}"],
}
OPENAI_BLOCK = {
    "ln_1": ["ln_1.{}"],
    "ln_2": ["ln_2.{}"],
    "out": ["attn.out_proj.{}"],
    "fc": ["mlp.c_fc.{}"],
    "proj": ["mlp.c_proj.{}"],
    "qkv": ["attn.in_proj_{}"],
}


def block_tensors(state: State, pattern: str, layers: int, block: Mapping[str, list[str]], source: str) -> State:
    """Weights and biases of all blocks under our names; `pattern` is the layout's prefix of a block, with one {}."""
    return {
        f"blocks.{i}.{new}.{kind}": torch.cat(
            [take(state, pattern.format(i) + name.format(kind), source) for name in names]
        )
        for i in range(layers)
        for new, names in block.items()
        for kind in ("weight", "bias")
    }


def norm_tensors(state: State, names: Mapping[str, str], source: str) -> State:
    """Weight and bias of the norms: our name -> the layout's."""
    return {
        f"{new}.{kind}": take(state, f"{old}.{kind}", source)
        for new, old in names.items()
        for kind in ("weight", "bias")
    }


# ---- Hugging Face's layout -------------------------------------------------------------------------------------------


def hugging_face(folder: Path, want_text: bool) -> tuple[nn.Module, nn.Module | None]:
    config, state = read_folder(folder, "CLIP in Hugging Face's form")
    source = str(folder)
    tower = hugging_face_image(config, state, source)
    return tower, hugging_face_text(config, state, source) if want_text else None


def hugging_face_transformer(
    config: dict[str, Any], part: dict[str, Any], defaults: tuple[int, int, int, int]
) -> dict[str, Any]:
    """Shape of a transformer. The configuration omits values that equal the class's defaults, given here."""
    width, layers, heads, hidden = defaults
    return {
        "width": part.get("hidden_size", width),
        "layers": part.get("num_hidden_layers", layers),
        "heads": part.get("num_attention_heads", heads),
        "hidden": part.get("intermediate_size", hidden),
        "out": config.get("projection_dim", 512),
        "act": part.get("hidden_act", "quick_gelu"),
        "eps": part.get("layer_norm_eps", 1e-5),
    }


def hugging_face_image(config: dict[str, Any], state: State, source: str) -> nn.Module:
    part = config.get("vision_config", {})
    common = hugging_face_transformer(config, part, (768, 12, 12, 3072))
    shape = VitShape(size=part.get("image_size", 224), patch=part.get("patch_size", 32), **common)
    embeddings = "vision_model.embeddings."
    tensors = {
        "cls": take(state, embeddings + "class_embedding", source),
        "patches.weight": take(state, embeddings + "patch_embedding.weight", source).flatten(1),
        "place": take(state, embeddings + "position_embedding.weight", source),
        "out.weight": take(state, "visual_projection.weight", source),
        # "pre_layrnorm" is how the layout spells it.
        **norm_tensors(
            state, {"ln_pre": "vision_model.pre_layrnorm", "ln_post": "vision_model.post_layernorm"}, source
        ),
        **block_tensors(state, "vision_model.encoder.layers.{}.", shape.layers, HUGGING_FACE_BLOCK, source),
    }
    return fill(Vit(shape), tensors, source)


def hugging_face_text(config: dict[str, Any], state: State, source: str) -> nn.Module:
    part = config.get("text_config", {})
    end = part.get("eos_token_id", 49407)
    shape = TextShape(
        context=part.get("max_position_embeddings", 77),
        vocab=part.get("vocab_size", 49408),
        end=-1 if end == 2 else end,  # old configurations say 2 and mean the highest id
        **hugging_face_transformer(config, part, (512, 12, 8, 2048)),
    )
    tensors = {
        "table.weight": take(state, "text_model.embeddings.token_embedding.weight", source),
        "place": take(state, "text_model.embeddings.position_embedding.weight", source),
        "out.weight": take(state, "text_projection.weight", source),
        **norm_tensors(state, {"ln": "text_model.final_layer_norm"}, source),
        **block_tensors(state, "text_model.encoder.layers.{}.", shape.layers, HUGGING_FACE_BLOCK, source),
    }
    return fill(Text(shape), tensors, source)


# ---- OpenAI's layout -------------------------------------------------------------------------------------------------


def openai(path: Path, want_text: bool) -> tuple[nn.Module, nn.Module | None]:
    state, source = read_openai(path), str(path)
    if "visual.proj" in state:
        tower = openai_vit(state, source)
    elif "visual.attnpool.positional_embedding" in state:
        tower = openai_resnet(state, source)
    else:
        raise MissingTensorsError(
            f"{source}: neither visual.proj (ViT) nor visual.attnpool (ResNet): not one of OpenAI's CLIP files"
        )
    return tower, openai_text(state, source) if want_text else None


def openai_transformer(state: State, pattern: str, width: int, out: int, source: str) -> tuple[dict[str, Any], State]:
    """Shape and tensors of a transformer; its heads are 64 wide."""
    layers = count_layers(state, pattern)
    hidden = take(state, pattern.format(0) + "mlp.c_fc.weight", source).shape[0]
    shape = {"width": width, "layers": layers, "heads": width // 64, "hidden": hidden, "out": out}
    return shape, block_tensors(state, pattern, layers, OPENAI_BLOCK, source)


def openai_vit(state: State, source: str) -> nn.Module:
    conv, proj = take(state, "visual.conv1.weight", source), state["visual.proj"]
    place = take(state, "visual.positional_embedding", source)
    common, blocks = openai_transformer(state, "visual.transformer.resblocks.{}.", conv.shape[0], proj.shape[1], source)
    shape = VitShape(size=round((place.shape[0] - 1) ** 0.5) * conv.shape[2], patch=conv.shape[2], **common)
    tensors = {
        "cls": take(state, "visual.class_embedding", source),
        "patches.weight": conv.flatten(1),
        "place": place,
        "out.weight": proj.T.contiguous(),
        **blocks,
        **norm_tensors(state, {"ln_pre": "visual.ln_pre", "ln_post": "visual.ln_post"}, source),
    }
    return fill(Vit(shape), tensors, source)


def openai_resnet(state: State, source: str) -> nn.Module:
    place = state["visual.attnpool.positional_embedding"]
    shape = ResnetShape(
        size=32 * round((place.shape[0] - 1) ** 0.5),
        width=take(state, "visual.layer1.0.conv1.weight", source).shape[0],
        layers=tuple(count_layers(state, f"visual.layer{n}.{{}}.") for n in (1, 2, 3, 4)),
        heads=place.shape[1] // 64,
        out=take(state, "visual.attnpool.c_proj.weight", source).shape[0],
    )
    visual = {k.removeprefix("visual."): v for k, v in state.items() if k.startswith("visual.")}
    return fill(Resnet(shape), visual, source)


def openai_text(state: State, source: str) -> nn.Module:
    table, proj = take(state, "token_embedding.weight", source), take(state, "text_projection", source)
    place = take(state, "positional_embedding", source)
    common, blocks = openai_transformer(state, "transformer.resblocks.{}.", table.shape[1], proj.shape[1], source)
    tensors = {
        "table.weight": table,
        "place": place,
        "out.weight": proj.T.contiguous(),
        **blocks,
        **norm_tensors(state, {"ln": "ln_final"}, source),
    }
    return fill(Text(TextShape(context=place.shape[0], vocab=table.shape[0], **common)), tensors, source)


# ---- in and out ------------------------------------------------------------------------------------------------------


def write_image(tower: nn.Module, out: Path, store: str) -> dict[str, Any]:
    """Writes the image tower's graph into a model folder; returns the manifest's entry."""
    size = tower.shape.size
    write_graph(
        tower,
        (torch.zeros(2, 3, size, size),),
        out / "image.onnx",
        (["pixels"], ["embedding"]),
        batched("pixels", "embedding"),
        store,
    )
    return image_spec(tower)


def image_spec(tower: nn.Module) -> dict[str, Any]:
    """The manifest's entry for an image tower."""
    return {
        "graph": "image.onnx",
        "size": tower.shape.size,
        "resize": "crop",
        "resample": "bicubic",
        "mean": MEAN,
        "std": STD,
        "embedding_dim": tower.shape.out,
    }


def load(path: Path, want_text: bool = False) -> tuple[nn.Module, nn.Module | None]:
    """The image tower of a Hugging Face folder or of one of OpenAI's files, and the text tower if wanted."""
    if not path.exists():
        raise SystemExit(f"{path}: there is no such CLIP")
    return hugging_face(path, want_text) if path.is_dir() else openai(path, want_text)
