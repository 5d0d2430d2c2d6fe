"""Training of the built-in captioner on cached features: cross-entropy, then self-critical on CIDEr-D."""
import copy
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from .cider import CiderD
from .data import SIDES, vocabulary, words
from .measure import plain_cider
from .net import Captioner, ImageHead, Shape, TextTower

LIMIT = 22          # words of a caption, and the most that sampling draws


class Features:
    """What is cached of every view, memory-mapped: pooled grids [pictures, cells, features], or `maps`."""

    def __init__(self, folder, kind="grid"):
        self.views = [np.load(p, mmap_mode="r") for p in sorted(Path(folder).glob(f"{kind}[0-9].npy"))]

    def get(self, pictures, views):
        return torch.from_numpy(np.stack([self.views[v][i] for i, v in zip(pictures, views)]).astype(np.float32))


class Tuned:
    """Grids of a tail that is being trained, of the pictures as they are."""

    def __init__(self, maps, tail):
        self.maps, self.tail = maps, tail

    @torch.no_grad()
    def get(self, pictures, views):
        return self.tail(self.maps.get(pictures, views))


def boxes(maps, least=0.6, whole=0.3):
    """Random boxes of maps [N,C,S,S], of at least this share of the area, drawn out to the whole; a share stays whole.
    As good as crops of the picture, and never the same twice."""
    n = maps.shape[0]
    area, ratio = torch.empty(n).uniform_(least, 1.0), torch.empty(n).uniform_(-0.2, 0.2).exp()
    w, h = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    keep = torch.rand(n) < whole
    w, h = torch.where(keep, 1.0, w), torch.where(keep, 1.0, h)
    to = torch.zeros(n, 2, 3)
    to[:, 0, 0], to[:, 1, 1] = w, h
    to[:, 0, 2], to[:, 1, 2] = (torch.rand(n) * 2 - 1) * (1 - w), (torch.rand(n) * 2 - 1) * (1 - h)
    return F.grid_sample(maps, F.affine_grid(to, list(maps.shape), align_corners=False), align_corners=False,
                         padding_mode="border")


class Average:
    """Exponential moving average of weights; what is validated and kept."""

    def __init__(self, model, decay):
        self.model, self.decay, self.steps = copy.deepcopy(model).eval(), decay, 0

    @torch.no_grad()
    def update(self, model):
        self.steps += 1
        d = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for a, b in zip(self.model.parameters(), model.parameters()):
            a.lerp_(b, 1 - d)


def rate(step, total, peak, warm):
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def groups(model, peak, decay):
    """Parameters for an optimiser; `peak` is the group's own learning rate at the schedule's top."""
    weights = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() <= 1]
    return [{"params": weights, "weight_decay": decay, "peak": peak}, {"params": rest, "weight_decay": 0, "peak": peak}]


def optimiser(model, peak, decay=0.05):
    return torch.optim.AdamW(groups(model, peak, decay), lr=peak, betas=(0.9, 0.98), fused=True)


def cider(model, features, rows, pictures, ids_to_words, beam=3, batch=50):
    """CIDEr of beam captions by `plain_cider`, the captions by picture, and their mean log-probabilities."""
    model.eval()
    got, sure = {}, []
    for k in range(0, len(pictures), batch):
        some = pictures[k : k + batch]
        with torch.autocast("cpu", torch.bfloat16):
            out = model.beam(features.get(some, [0] * len(some)), beam, LIMIT, 0)
        for i, (ids, score) in zip(some, out):
            got[i] = " ".join(ids_to_words[t] for t in ids)
            sure.append(score)
    return plain_cider(rows, got), got, sure


def encode(caption, table):
    return [table.get(w, 1) for w in words(caption)][:LIMIT] + [0]


def padded(sets):
    """Captions of each picture as ids [B, C, T], with -100 after the end."""
    longest = max(len(c) for cs in sets for c in cs)
    out = torch.full((len(sets), len(sets[0]), longest), -100)
    for a, cs in enumerate(sets):
        for b, c in enumerate(cs):
            out[a, b, : len(c)] = torch.tensor(c)
    return out


class Job:
    def __init__(self, rows, features, seed=0):
        self.seed(seed)
        self.rows, self.features = rows, features
        self.train = [i for i, r in enumerate(rows) if not (r["source"] == "flickr8k" and r["split"] == "val")]
        self.val = [i for i, r in enumerate(rows) if r["source"] == "flickr8k" and r["split"] == "val"]
        # What captions are judged by: those of the pictures' own collection, in its manner of speaking.
        home = {rows[i]["source"] for i in self.val}
        self.home = [i for i in self.train if rows[i]["source"] in home]
        self.table = vocabulary(c for i in self.train for c in rows[i]["captions"])
        self.words = list(self.table)
        self.ids = {i: [encode(c, self.table) for c in rows[i]["captions"]] for i in self.train}
        self.sided = {i: [bool(SIDES & set(words(c))) for c in rows[i]["captions"]] for i in self.train}

    def seed(self, seed):
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)

    def batches(self, size, pictures=None):
        order = list(pictures or self.train)
        random.shuffle(order)
        return [order[k : k + size] for k in range(0, len(order) - size // 2, size)]

    def captions(self, some, per):
        """Ids [B, per, T] with -100 after the end; a picture with fewer captions repeats some."""
        chosen = [random.sample(self.ids[i], per) if len(self.ids[i]) >= per else random.choices(self.ids[i], k=per)
                  for i in some]
        return padded(chosen)

    def views(self, some):
        """The picture as it is four times of ten, mirrored three, else one of the crops."""
        n = len(self.features.views)
        return random.choices(range(n), [0.4, 0.3, *[0.3 / max(1, n - 2)] * (n - 2)][:n], k=len(some))

    def standardise(self, mapper):
        """Means and deviations of the channels over the cells of 2,000 training pictures as they are."""
        some = random.Random(0).sample(self.train, min(2000, len(self.train)))
        grid = self.features.get(some, [0] * len(some)).flatten(0, 1)
        mapper.mean.copy_(grid.mean(0))
        mapper.deviation.copy_(grid.std(0) + 1e-3)

    def pairs(self, size):
        """Batches of (picture, caption) pairs, every caption once an epoch. A batch holds as many different pictures as it
        can: several captions of one picture in a batch teach the picture by heart instead of what is in it. Within
        eight batches' worth captions of like length go together, since padding costs time."""
        all_pairs = [(i, c) for i in self.train for c in self.ids[i]]
        random.shuffle(all_pairs)
        out = []
        for k in range(0, len(all_pairs) // size * size, size * 8):
            block = sorted(all_pairs[k : k + size * 8], key=lambda pair: len(pair[1]))
            out += [block[j : j + size] for j in range(0, len(block) // size * size, size)]
        random.shuffle(out)
        return out

    def cross_entropy(self, shape, out, epochs, peak=1e-3, size=128, smoothing=0.1):
        model = Captioner(shape)
        self.standardise(model.mapper)
        average, opt = Average(model, 0.999), optimiser(model, peak)
        step, total, best = 0, epochs * (sum(map(len, self.ids.values())) // size), 0.0
        for epoch in range(epochs):
            t0, seen, batches = time.time(), 0.0, self.pairs(size)
            model.train()
            for pairs in batches:
                for g in opt.param_groups:
                    g["lr"] = rate(step, total, peak, 200)
                some = [i for i, _ in pairs]
                given = padded([[c] for _, c in pairs])
                target = torch.where(given.eq(1), -100, given)      # an unknown word teaches nothing
                keep = target.ne(-100)
                grid = self.features.get(some, self.views(some))
                with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
                    hidden, = model.teach(grid, given)
                    logits = model.decoder.logits(hidden[keep])
                    loss = F.cross_entropy(logits.float(), target[keep], label_smoothing=smoothing)
                    opt.zero_grad()
                    loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                opt.step()
                average.update(model)
                step, seen = step + 1, seen + loss.item()
                if step % 100 == 0:
                    print(f"xe {step}/{total} loss {loss.item():.3f} {time.time() - t0:.0f}s", flush=True)
            score, got, _ = cider(average.model, self.features, self.rows, self.val[:500], self.words)
            print(f"xe {epoch + 1}/{epochs} loss {seen / len(batches):.3f} cider@500 {score:.4f} "
                  f"{time.time() - t0:.0f}s | {got[self.val[0]]} | {got[self.val[7]]}", flush=True)
            if score > best:
                best = score
                save(out, shape, average.model, self.words, score)
        return average.model

    def fine_tune(self, model, tail, out, maps, epochs, peak=3e-4, tail_peak=1e-4, size=96, per=2, smoothing=0.1):
        """Cross-entropy goes on, and the tower's tail learns too: ImageNet's classes are not what captions speak of. Its
        batch norms keep their statistics, its pictures are boxes of the cached maps. On Flickr8k's val CIDEr rose
        from 0.538 to 0.555, and half of that for decoders that never saw it."""
        both = torch.nn.ModuleList([tail, model])
        average = Average(both, 0.99)
        judged = Tuned(maps, average.model[0])
        opt = torch.optim.AdamW(groups(model, peak, 0.05) + groups(tail, tail_peak, 0.01), betas=(0.9, 0.98))
        step, total, best = 0, epochs * len(self.batches(size)), 0.0
        for epoch in range(epochs):
            t0, seen, batches = time.time(), 0.0, self.batches(size)
            model.train()
            for some in batches:
                for g in opt.param_groups:
                    g["lr"] = rate(step, total, g["peak"], 60)
                for half in (some[::2], some[1::2]):      # the tail's intermediate values take much memory
                    given = self.captions(half, per)
                    target = torch.where(given.eq(1), -100, given)
                    keep = target.ne(-100)
                    grid = tail(boxes(maps.get(half, self.views(half))))
                    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
                        hidden, = model.teach(grid, given)
                        logits = model.decoder.logits(hidden[keep]).float()
                        loss = F.cross_entropy(logits, target[keep], label_smoothing=smoothing) / 2
                    loss.backward()
                    seen += loss.item()
                for part in (model, tail):
                    torch.nn.utils.clip_grad_norm_(part.parameters(), 1.0)
                opt.step()
                opt.zero_grad()
                average.update(both)
                step += 1
            score, got, _ = cider(average.model[1], judged, self.rows, self.val[:500], self.words)
            print(f"tune {epoch + 1}/{epochs} loss {seen / len(batches):.3f} cider@500 {score:.4f} "
                  f"{time.time() - t0:.0f}s | {got[self.val[0]]} | {got[self.val[7]]}", flush=True)
            if score > best:
                best = score
                save(out, model.shape, average.model[1], self.words, score, tail=average.model[0].state_dict())

    def self_critical(self, model, shape, out, epochs, peak=1e-4, size=48, samples=5, mix=0.05, temperature=0.7):
        """Self-critical training (Rennie et al. 2017) with the mean of the picture's other samples as baseline, on the
        pictures of the collection that val is from: its words and its five captions a picture make the reward. (With
        the other collection's, many of one caption only, CIDEr on val ended 0.02 lower.)

        The policy is the softmax at `temperature`, in sampling and in the gradient alike: label smoothing leaves a tenth
        of the mass on words that beams never choose, and at 1.0 the samples would teach little but that.
        """
        reward = CiderD([self.ids[i] for i in self.home])
        place = {i: k for k, i in enumerate(self.home)}
        average, opt = Average(model, 0.99), optimiser(model, peak, 0.01)
        step, total = 0, epochs * len(self.batches(size, self.home))
        best, _, _ = cider(model, self.features, self.rows, self.val[:500], self.words)
        print(f"sc from {best:.4f}", flush=True)
        save(out, shape, model, self.words, best)
        t0, got_reward, n = time.time(), 0.0, 0
        for epoch in range(epochs):
            for some in self.batches(size, self.home):
                for g in opt.param_groups:
                    g["lr"] = rate(step, total, peak, 50)
                grid = self.features.get(some, self.views(some))
                drawer = copy.deepcopy(model).eval().bfloat16()
                drawn = drawer.sample(grid.bfloat16(), samples, LIMIT, 0, temperature)
                ended = drawn.eq(0).cumsum(2)
                keep = (ended - drawn.eq(0).long()).eq(0)           # up to the first end token, which counts
                drawn = drawn[:, :, : int(keep.sum(2).max())]
                keep = keep[:, :, : drawn.shape[2]]
                r = torch.zeros(drawn.shape[:2])
                for a, i in enumerate(some):
                    for b in range(samples):
                        r[a, b] = reward.reward(place[i], drawn[a, b][keep[a, b]].tolist())
                advantage = (r - r.mean(1, keepdim=True)) * samples / (samples - 1)
                advantage = advantage / (advantage.std() + 1e-6)
                model.train()
                human = self.captions(some, 1)
                target = torch.where(human.eq(1), -100, human)
                ok = target.ne(-100)
                with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
                    mine, theirs = model.teach(grid, drawn, human)
                    logp = (model.decoder.logits(mine[keep]).float() / temperature).log_softmax(-1)
                    logp = logp.gather(1, drawn[keep][:, None])[:, 0]
                    policy = -(advantage[..., None].expand_as(keep)[keep] * logp).mean()
                    said = model.decoder.logits(theirs[ok]).float()
                    loss = policy + mix * F.cross_entropy(said, target[ok], label_smoothing=0.1)
                    opt.zero_grad()
                    loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                opt.step()
                average.update(model)
                step, got_reward, n = step + 1, got_reward + r.mean().item(), n + 1
                if step % 20 == 0:
                    print(f"sc {step}/{total} reward {got_reward / n:.3f} {time.time() - t0:.0f}s", flush=True)
                if step % 150 == 0 or step == total:
                    score, got, _ = cider(average.model, self.features, self.rows, self.val[:500], self.words)
                    print(f"sc {step}/{total} reward {got_reward / n:.3f} cider@500 {score:.4f} {time.time() - t0:.0f}s"
                          f" | {got[self.val[0]]} | {got[self.val[7]]} | {got[self.val[11]]}", flush=True)
                    got_reward, n = 0.0, 0
                    if score > best:
                        best = score
                        save(out, shape, average.model, self.words, score)
        return average.model

    def contrastive(self, shape, out, epochs, peak=1e-3, size=256):
        """Image head and text tower against one another (InfoNCE with a learnt temperature, as CLIP)."""
        image, text = ImageHead(shape), TextTower(shape)
        scale = torch.nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        both = torch.nn.ModuleList([image, text])
        average, opt = Average(both, 0.99), optimiser(both, peak, 0.1)
        opt.add_param_group({"params": [scale], "weight_decay": 0})
        step, total, best = 0, epochs * len(self.batches(size)), 0.0
        for epoch in range(epochs):
            t0 = time.time()
            both.train()
            for some in self.batches(size):
                for g in opt.param_groups:
                    g["lr"] = rate(step, total, peak, 60)
                per = 2
                ids = self.captions(some, per).clamp_min(0)
                views = self.views(some)
                with torch.autocast("cpu", torch.bfloat16):
                    e = F.normalize(image(self.features.get(some, views)).float(), dim=-1)
                    t = F.normalize(text(ids.flatten(0, 1)).float(), dim=-1).view(len(some), per, -1)
                loss = 0.0
                truth = torch.arange(len(some))
                for c in range(per):
                    s = scale.exp().clamp_max(50) * e @ t[:, c].T
                    loss = loss + F.cross_entropy(s, truth, label_smoothing=0.05) + F.cross_entropy(s.T, truth, label_smoothing=0.05)
                opt.zero_grad()
                loss.backward()
                opt.step()
                average.update(both)
                step += 1
            r = self.retrieval(*average.model)
            print(f"con {epoch + 1}/{epochs} loss {loss.item():.3f} r@1/5/10 {r} {time.time() - t0:.0f}s", flush=True)
            if r[2] > best:
                best = r[2]
                torch.save({"shape": shape.dict(), "image": average.model[0].state_dict(),
                            "text": average.model[1].state_dict(), "recall": r}, out)

    @torch.no_grad()
    def retrieval(self, image, text):
        """Text -> image recall@1/5/10 over all val pictures, each human caption a query."""
        e = F.normalize(image(self.features.get(self.val, [0] * len(self.val))), dim=-1)
        queries = [(k, encode(c, self.table)) for k, i in enumerate(self.val) for c in self.rows[i]["captions"]]
        ids = torch.zeros(len(queries), LIMIT + 1, dtype=torch.long)
        for q, (_, c) in enumerate(queries):
            ids[q, : len(c)] = torch.tensor(c)
        t = F.normalize(text(ids), dim=-1)
        s = t @ e.T
        own = s.gather(1, torch.tensor([k for k, _ in queries])[:, None])
        rank = (s > own).sum(1)
        return [round(float((rank < k).float().mean()), 4) for k in (1, 5, 10)]


def save(path, shape, model, word_list, score, **more):
    torch.save({"shape": shape.dict(), "model": model.state_dict(), "words": word_list, "cider": float(score), **more}, path)


def load(path):
    c = torch.load(path, weights_only=True)
    shape = Shape(**c["shape"])
    model = Captioner(shape)
    model.load_state_dict(c["model"])
    return shape, model.eval(), c["words"]
