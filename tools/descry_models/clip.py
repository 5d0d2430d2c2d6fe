"""CLIP's towers, read from a Hugging Face folder or from OpenAI's own file, in one form that exports well.

Both layouts hold the same networks under other names; here they are renamed to one set of names and loaded strictly,
so that a missing or a misshapen tensor is told by name.
"""
import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

from .export import graph

# OpenAI's preprocessing constants, the same for all of its CLIP models.
MEAN = [0.48145466, 0.4578275, 0.40821073]
STD = [0.26862954, 0.26130258, 0.27577711]


def activation(name):
    return {"quick_gelu": lambda x: x * torch.sigmoid(1.702 * x), "gelu": F.gelu,
            "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh")}[name]


class Block(nn.Module):
    """Pre-norm transformer block; queries, keys and values in one matrix."""

    def __init__(self, width, heads, hidden, act, eps):
        super().__init__()
        self.heads, self.act = heads, activation(act)
        self.ln_1, self.ln_2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc, self.proj = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x, mask=None, count=None):
        """x [N,T,W]; with `count` only the first vectors of each row go on, which ask all of them."""
        n, t, w = x.shape
        q, k, v = (z.view(n, t, self.heads, w // self.heads).transpose(1, 2)
                   for z in self.qkv(self.ln_1(x)).split(w, 2))
        if count is not None:
            x, q, t = x[:, :count], q[:, :, :count], count
        a = (q * (w // self.heads) ** -0.5) @ k.transpose(2, 3)
        if mask is not None:
            a = a + mask
        x = x + self.out((a.softmax(-1) @ v).transpose(1, 2).reshape(n, t, w))
        return x + self.proj(self.act(self.fc(self.ln_2(x))))


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

    def blocks(self):
        return nn.ModuleList(Block(self.width, self.heads, self.hidden, self.act, self.eps) for _ in range(self.layers))


@dataclass(kw_only=True)
class VitShape(TransformerShape):
    size: int
    patch: int


class Vit(nn.Module):
    """Pixels [N,3,size,size] -> embedding [N,out]."""

    def __init__(self, s: VitShape):
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

    def forward(self, pixels):
        n, p, side = pixels.shape[0], self.shape.patch, self.shape.size // self.shape.patch
        x = pixels.view(n, 3, side, p, side, p).permute(0, 2, 4, 1, 3, 5).reshape(n, side * side, 3 * p * p)
        x = self.patches(x)
        x = torch.cat((self.cls.expand(x.shape[0], 1, -1), x), 1) + self.place
        x = self.ln_pre(x)
        for block in self.blocks[:-1]:
            x = block(x)
        # Only what becomes of the class vector is wanted.
        return self.out(self.ln_post(self.blocks[-1](x, count=1)[:, 0]))


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1; where the picture shrinks, an average pool does it rather than a stride."""

    def __init__(self, inside, width, stride):
        super().__init__()
        wide = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(inside, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, wide, 1, bias=False), nn.BatchNorm2d(wide)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.downsample = None
        if stride > 1 or inside != wide:
            self.downsample = nn.ModuleDict({"0": nn.Conv2d(inside, wide, 1, bias=False), "1": nn.BatchNorm2d(wide)})

    def forward(self, x):
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
    layers: tuple
    heads: int
    out: int


class Resnet(nn.Module):
    """CLIP's ResNet: a stem of three convolutions, four stages, attention of the mean over the cells."""

    def __init__(self, s: ResnetShape):
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

    def forward(self, x):
        for n in "123":
            x = F.relu(getattr(self, "bn" + n)(getattr(self, "conv" + n)(x)))
        x = F.avg_pool2d(x, 2)
        for n in "1234":
            x = getattr(self, "layer" + n)(x)
        # The global average goes by its own operator: a mean over a middle axis changes with the batch in ONNX Runtime.
        mean = F.adaptive_avg_pool2d(x, 1).flatten(2)
        p = self.attnpool
        x = torch.cat((mean, x.flatten(2)), 2).transpose(1, 2) + p.positional_embedding
        n, t, w = x.shape
        split = lambda z: z.view(n, -1, self.shape.heads, w // self.shape.heads).transpose(1, 2)
        q, k, v = split(p.q_proj(x[:, :1])), split(p.k_proj(x)), split(p.v_proj(x))
        a = ((q * (w // self.shape.heads) ** -0.5) @ k.transpose(2, 3)).softmax(-1)
        return p.c_proj((a @ v).transpose(1, 2).reshape(n, w))


@dataclass(kw_only=True)
class TextShape(TransformerShape):
    context: int
    vocab: int
    end: int = -1       # id of the end token; negative: the highest id of a line


class Text(nn.Module):
    """Ids [N,context] -> embedding [N,out], read at the end token."""

    def __init__(self, s: TextShape):
        super().__init__()
        self.shape = s
        self.table = nn.Embedding(s.vocab, s.width)
        self.place = nn.Parameter(torch.zeros(s.context, s.width))
        self.blocks = s.blocks()
        self.ln = nn.LayerNorm(s.width, s.eps)
        self.out = nn.Linear(s.width, s.out, bias=False)

    def forward(self, ids):
        x = self.table(ids) + self.place
        t = ids.shape[1]
        mask = torch.full((t, t), -1e9).triu(1)
        for block in self.blocks:
            x = block(x, mask)
        end = ids.argmax(1) if self.shape.end < 0 else ids.eq(self.shape.end).long().argmax(1)
        return self.out(self.ln(x).gather(1, end[:, None, None].expand(-1, 1, x.shape[2]))[:, 0])


class Missing(Exception):
    """Tensors that are absent or of another shape, by name."""


def take(state, name, source):
    if name not in state:
        raise Missing(f"{source}: there is no tensor {name}")
    return state[name].float()


def fill(module, tensors, source):
    """Loads strictly; says which tensors are missing or misshapen."""
    wanted, wrong = module.state_dict(), []
    for name, value in wanted.items():
        if name.endswith("num_batches_tracked"):
            tensors.setdefault(name, value)
        if name not in tensors:
            wrong.append(f"{name} is missing")
        elif tensors[name].shape != value.shape:
            wrong.append(f"{name} is {list(tensors[name].shape)}, not {list(value.shape)}")
    if wrong:
        raise Missing(f"{source}: {'; '.join(wrong[:8])}" + (f"; and {len(wrong) - 8} more" if len(wrong) > 8 else ""))
    module.load_state_dict({n: tensors[n] for n in wanted})
    return module.eval()


def read_tensors(path):
    """A state dict and nothing else. A pickle that holds more than tensors is refused."""
    path = Path(path)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file
        return load_file(str(path))
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise SystemExit(f"{path}: there is no such file")
    except Exception as error:
        raise SystemExit(f"{path}: refused, it is no checkpoint of tensors alone: {str(error).splitlines()[0]}")
    if not isinstance(state, dict):
        raise SystemExit(f"{path}: refused, it holds a {type(state).__name__} and not a state dict")
    odd = [str(k) for k, v in state.items() if not torch.is_tensor(v)]
    if odd:
        raise SystemExit(f"{path}: refused, it holds more than tensors: {', '.join(odd[:5])}")
    return state


def read_folder(folder, what):
    """(configuration, tensors) of a Hugging Face folder."""
    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise SystemExit(f"{folder}: no folder of {what}: {error}")
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        raise SystemExit(f"{folder}: there is no model.safetensors and no pytorch_model.bin")
    state = {}
    for f in files:
        state.update(read_tensors(f))
    return config, state


def read_openai(path):
    """OpenAI's files are TorchScript archives; copies of their weights alone are state dicts."""
    try:
        state = torch.jit.load(str(path), map_location="cpu").state_dict()
    except RuntimeError:
        state = read_tensors(path)
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def count(state, pattern):
    """How many layers stand under `pattern`, which has one {}."""
    n = 0
    while any(k.startswith(pattern.format(n)) for k in state):
        n += 1
    return n


# Where the tensors of a block stand in each layout; several names are one matrix here.
HUGGING_FACE_BLOCK = {
    "ln_1": ["layer_norm1.{}"], "ln_2": ["layer_norm2.{}"], "out": ["self_attn.out_proj.{}"], "fc": ["mlp.fc1.{}"],
    "proj": ["mlp.fc2.{}"], "qkv": ["self_attn.q_proj.{}", "self_attn.k_proj.{}", "self_attn.v_proj.{}"],
}
OPENAI_BLOCK = {
    "ln_1": ["ln_1.{}"], "ln_2": ["ln_2.{}"], "out": ["attn.out_proj.{}"], "fc": ["mlp.c_fc.{}"],
    "proj": ["mlp.c_proj.{}"], "qkv": ["attn.in_proj_{}"],
}


def block_tensors(state, pattern, layers, block, source):
    """Weights and biases of all blocks under our names; `pattern` is the layout's prefix of a block, with one {}."""
    return {f"blocks.{i}.{new}.{kind}":
            torch.cat([take(state, pattern.format(i) + name.format(kind), source) for name in names])
            for i in range(layers) for new, names in block.items() for kind in ("weight", "bias")}


def norm_tensors(state, names, source):
    """Weight and bias of the norms: our name -> the layout's."""
    return {f"{new}.{kind}": take(state, f"{old}.{kind}", source)
            for new, old in names.items() for kind in ("weight", "bias")}


def hugging_face(folder, want_text):
    config, state = read_folder(folder, "CLIP in Hugging Face's form")
    source = str(folder)

    def common(c, width, layers, heads, hidden):
        """Of a transformer; the configuration leaves out what is as in the class's defaults, given here."""
        return {"width": c.get("hidden_size", width), "layers": c.get("num_hidden_layers", layers),
                "heads": c.get("num_attention_heads", heads), "hidden": c.get("intermediate_size", hidden),
                "out": config.get("projection_dim", 512), "act": c.get("hidden_act", "quick_gelu"),
                "eps": c.get("layer_norm_eps", 1e-5)}

    v = config.get("vision_config", {})
    shape = VitShape(size=v.get("image_size", 224), patch=v.get("patch_size", 32), **common(v, 768, 12, 12, 3072))
    tower = fill(Vit(shape), {
        "cls": take(state, "vision_model.embeddings.class_embedding", source),
        "patches.weight": take(state, "vision_model.embeddings.patch_embedding.weight", source).flatten(1),
        "place": take(state, "vision_model.embeddings.position_embedding.weight", source),
        "out.weight": take(state, "visual_projection.weight", source),
        # "pre_layrnorm" is how the layout spells it.
        **norm_tensors(state, {"ln_pre": "vision_model.pre_layrnorm", "ln_post": "vision_model.post_layernorm"}, source),
        **block_tensors(state, "vision_model.encoder.layers.{}.", shape.layers, HUGGING_FACE_BLOCK, source)}, source)
    if not want_text:
        return tower, None
    c = config.get("text_config", {})
    end = c.get("eos_token_id", 49407)
    shape = TextShape(context=c.get("max_position_embeddings", 77), vocab=c.get("vocab_size", 49408),
                      end=-1 if end == 2 else end,      # old configurations say 2 and mean the highest id
                      **common(c, 512, 12, 8, 2048))
    return tower, fill(Text(shape), {
        "table.weight": take(state, "text_model.embeddings.token_embedding.weight", source),
        "place": take(state, "text_model.embeddings.position_embedding.weight", source),
        "out.weight": take(state, "text_projection.weight", source),
        **norm_tensors(state, {"ln": "text_model.final_layer_norm"}, source),
        **block_tensors(state, "text_model.encoder.layers.{}.", shape.layers, HUGGING_FACE_BLOCK, source)}, source)


def openai(path, want_text):
    state, source = read_openai(path), str(path)

    def blocks(pattern, width, out):
        """Shape and tensors of a transformer; its heads are 64 wide."""
        layers = count(state, pattern)
        hidden = take(state, pattern.format(0) + "mlp.c_fc.weight", source).shape[0]
        shape = {"width": width, "layers": layers, "heads": width // 64, "hidden": hidden, "out": out}
        return shape, block_tensors(state, pattern, layers, OPENAI_BLOCK, source)

    if "visual.proj" in state:
        conv, proj = take(state, "visual.conv1.weight", source), state["visual.proj"]
        place = take(state, "visual.positional_embedding", source)
        shape, tensors = blocks("visual.transformer.resblocks.{}.", conv.shape[0], proj.shape[1])
        shape = VitShape(size=round((place.shape[0] - 1) ** 0.5) * conv.shape[2], patch=conv.shape[2], **shape)
        tower = fill(Vit(shape), {
            "cls": take(state, "visual.class_embedding", source), "patches.weight": conv.flatten(1), "place": place,
            "out.weight": proj.T.contiguous(), **tensors,
            **norm_tensors(state, {"ln_pre": "visual.ln_pre", "ln_post": "visual.ln_post"}, source)}, source)
    elif "visual.attnpool.positional_embedding" in state:
        place = state["visual.attnpool.positional_embedding"]
        shape = ResnetShape(32 * round((place.shape[0] - 1) ** 0.5),
                            take(state, "visual.layer1.0.conv1.weight", source).shape[0],
                            tuple(count(state, f"visual.layer{n}.{{}}.") for n in (1, 2, 3, 4)), place.shape[1] // 64,
                            take(state, "visual.attnpool.c_proj.weight", source).shape[0])
        t = {k[len("visual."):]: v for k, v in state.items() if k.startswith("visual.")}
        tower = fill(Resnet(shape), t, source)
    else:
        raise Missing(f"{source}: neither visual.proj (ViT) nor visual.attnpool (ResNet): not one of OpenAI's CLIP files")
    if not want_text:
        return tower, None
    table, proj = take(state, "token_embedding.weight", source), take(state, "text_projection", source)
    place = take(state, "positional_embedding", source)
    shape, tensors = blocks("transformer.resblocks.{}.", table.shape[1], proj.shape[1])
    return tower, fill(Text(TextShape(context=place.shape[0], vocab=table.shape[0], **shape)), {
        "table.weight": table, "place": place, "out.weight": proj.T.contiguous(), **tensors,
        **norm_tensors(state, {"ln": "ln_final"}, source)}, source)


def write_image(tower, out, store):
    """The image tower's graph in a model folder; returns what the manifest says of it."""
    size = tower.shape.size
    graph(tower, (torch.zeros(2, 3, size, size),), out / "image.onnx", ["pixels"], ["embedding"],
          {"pixels": {0: "n"}, "embedding": {0: "n"}}, store)
    return image_spec(tower)


def image_spec(tower):
    return {"graph": "image.onnx", "size": tower.shape.size, "resize": "crop", "resample": "bicubic", "mean": MEAN,
            "std": STD, "embedding_dim": tower.shape.out}


def load(path, want_text=False):
    """(image tower, text tower or None) of a Hugging Face folder or of one of OpenAI's files."""
    path = Path(path)
    if not path.exists():
        raise SystemExit(f"{path}: there is no such CLIP")
    return hugging_face(path, want_text) if path.is_dir() else openai(path, want_text)
