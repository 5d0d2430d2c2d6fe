"""Trains the decoder on captions without pictures, before it sees any picture.

Its prefix is made from the caption's embedding in the shared space of the model folder's text tower, with noise
(CapDec, arXiv 2211.00575). So the decoder learns language from all captions, and to say what a prefix holds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from .corpus import Corpus
from .resampler import TextPrefix, TileCaptioner, TileShape
from .runs import Run, length_batches
from .train import PADDING, SMOOTHING, encode, padded, targets

BATCH, PEAK, WARM = 128, 1e-3, 300


def embed_texts(folder: Path, texts: Sequence[str], cache: Path, batch: int = 64) -> np.ndarray:
    """Embeddings of texts by the text tower of a model folder, float16 [texts, dim], cached in a file."""
    if cache.exists():
        return np.load(cache, mmap_mode="r")
    import onnxruntime
    from tokenizers import Tokenizer

    spec = json.loads((folder / "model.json").read_text())["text"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / spec["graph"]), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / spec["tokenizer"]))
    length, pad = spec["context_length"], spec["pad_token"]
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=pad)
    parts = []
    for start in range(0, len(texts), batch):
        ids = np.array([e.ids for e in tokenizer.encode_batch(list(texts[start : start + batch]))], np.int64)
        parts.append(session.run(["embedding"], {"ids": ids})[0].astype(np.float32))
    embeddings = np.concatenate(parts)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True) + 1e-6
    part = cache.with_suffix(".part.npy")
    np.save(part, embeddings.astype(np.float16))
    part.rename(cache)
    return np.load(cache, mmap_mode="r")


def pretrain(corpus: Corpus, shape: TileShape, folder: Path, work: Path, epochs: float) -> Path:
    """Trains on the texts and on the captions of the training pictures. Returns the checkpoint of averaged weights."""
    out = work / "pretrained.pt"
    if out.exists():
        return out
    texts = [*corpus.texts, *corpus.captions]
    embeddings = embed_texts(folder, texts, work / "texts.npy")
    ids = [encode(text, corpus.table) for text in texts]
    total = int(epochs * (len(texts) // BATCH))
    torch.manual_seed(0)
    model = TileCaptioner(shape, TextPrefix(shape))
    key = json.dumps({"stage": "pretrain", "shape": shape.as_dict(), "texts": len(texts), "total": total})
    run = Run(model, work / "pretrain.state.pt", key, total, PEAK)
    run.resume()
    model.train()
    per_epoch = len(length_batches([len(i) for i in ids], BATCH, "0"))
    while run.step < total:
        epoch, done = divmod(run.step, per_epoch)
        for chosen in length_batches([len(i) for i in ids], BATCH, f"pretrain {epoch}")[done:]:
            target = padded([[ids[i]] for i in chosen])
            embedding = torch.from_numpy(embeddings[np.sort(chosen)].astype(np.float32))
            # Sorted reads are faster; the targets follow the same order.
            target = target[torch.from_numpy(np.argsort(chosen))]
            run.update(text_loss(model, embedding, target), WARM)
            if run.step == total:
                break
    torch.save({"shape": shape.as_dict(), "model": run.average.model.state_dict(), "words": corpus.words}, out)
    return out


def text_loss(model: TileCaptioner, prefix_input: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of captions [B,1,T] after the prefix that the model's mapper makes."""
    target = targets(ids)
    keep = target.ne(PADDING)
    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        (hidden,) = model.teach(prefix_input, ids)
        logits = model.decoder.logits(hidden[keep])
    return F.cross_entropy(logits.float(), target[keep], label_smoothing=SMOOTHING)
