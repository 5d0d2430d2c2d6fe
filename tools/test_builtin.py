#!/usr/bin/env python3
"""Tests the built-in model's recipe: what the model learns from, its parts, its rewards, and its export.

Needs neither data nor trained weights. Run it in the environment of tools/requirements.txt:
python tools/test_builtin.py
"""

from __future__ import annotations

import json
import sys
import tempfile
import unittest
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))
warnings.simplefilter("ignore")

import numpy as np
import torch
from torch import Tensor, nn

from descry_models import film_score, lessons, rewards, sentences, vision
from descry_models.builtin_export import MappersGraph
from descry_models.convs import session
from descry_models.corpus import Corpus, plain_style, read_corpus
from descry_models.data import Picture
from descry_models.endings import open_words, shares_of_ends
from descry_models.export import batched, word_tokenizer, write_graph
from descry_models.judging import LEAST, RARE, Ensemble, Judge, support_of
from descry_models.lessons import FUNCTION, LIMIT, NO_CONCEPT, PADDING, STOP, UNKNOWN, Lessons
from descry_models.members import Member, MemberMapper, MemberShape
from descry_models.rewards import Reward, RewardPool, Truth
from descry_models.speech import targets, told_concepts, trimmed, word_loss

torch.set_num_threads(1)
SHAPE = MemberShape(
    vocab=20, width=16, layers=2, heads=2, context=32, evidence=8, concepts=5, queries=3, told=2, resampler_layers=1
)
WORDS = ["<end>", "<unk>", "a", "the", "man", "men", "dog", "runs", "running", "rarely", "group", "on"]
CAPTIONS = [["a man runs", "the dog"], ["a dog running", "men"], ["a group on the man", "rarely"]]


def small_lessons(captions: Sequence[Sequence[str]] = CAPTIONS, held_out: Sequence[int] = ()) -> Lessons:
    """Lessons without pictures: man, dog and run are concepts, "rarely" is none."""
    flat = [c for own in captions for c in own]
    count = len(captions)
    return Lessons(
        words=WORDS,
        stems=[-1, -1, -1, -1, 0, 0, 1, 2, 2, 3, 4, -1],
        concepts=[-1, -1, -1, -1, 0, 0, 1, 2, 2, NO_CONCEPT, NO_CONCEPT, -1],
        source=torch.zeros(count, dtype=torch.int8),
        held_out=torch.tensor([i in held_out for i in range(count)]),
        val=[],
        aspect=torch.ones(count),
        mirrors=torch.ones(count, dtype=torch.bool),
        starts=np.cumsum([0, *map(len, captions)]).tolist(),
        captions=lessons.as_rows(flat, {w: n for n, w in enumerate(WORDS)}),
        sentences=torch.zeros(len(flat), 1, dtype=torch.int16),
        texts=torch.zeros(0, LIMIT + 1, dtype=torch.int16),
    )


def member(seed: int = 0) -> Member:
    """A small captioner that is sure of what it says."""
    torch.manual_seed(seed)
    out = Member(SHAPE).eval()
    with torch.no_grad():
        for weight in (out.decoder.wte.weight, out.decoder.wpe.weight):
            weight.mul_(40)
    return out


def ensemble(*members: Member) -> Ensemble:
    model: Any = SimpleNamespace(members=members)
    return Ensemble(model)


class Splits(unittest.TestCase):
    def test_val_and_every_tenth_picture_are_held_out(self) -> None:
        pictures = [
            Picture(f"{source}{n}", "", ["a dog"] * 5, "val" if n < 2 else "train", source)
            for source in ("flickr8k", "coco", "web")
            for n in range(25)
        ]
        pictures[1].captions[:] = ["heldout"] * 5
        corpus = Corpus(pictures, ["spoken"] * 5)
        self.assertEqual(corpus.val, [0, 1])
        held_out = sorted(set(range(75)) - set(corpus.train))
        self.assertEqual(held_out, [0, 1, 25, 35, 45, 50, 60, 70])
        self.assertEqual(set(corpus.words), {"<end>", "<unk>", "a", "dog", "spoken"})

    def test_only_captions_of_the_web_lose_their_roles(self) -> None:
        self.assertEqual(plain_style("Actress wearing a blue dress"), "a woman wearing a blue dress")
        self.assertEqual(plain_style("person and person at the event"), "a person and person at the event")
        self.assertEqual(plain_style("personal computers"), "personal computers")
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "1.jpg").touch()
            row = {"image": "1.jpg", "captions": ["actor on stage"], "split": "train"}
            (folder / "c.jsonl").write_text(json.dumps(row) + "\n")
            sources = [(s, str(folder / "c.jsonl"), name) for s in ("coco", "web")]
            captions = [p.captions for p in read_corpus(sources, None).pictures]
        self.assertEqual(captions, [["actor on stage"], ["a man on stage"]])

    def test_content_words_meet_by_stem_and_synonym(self) -> None:
        references = ["two men ride bicycles on a street", "people cycling"]
        self.assertEqual(film_score.caption_precision("a man is riding a bike", references), 1.0)
        self.assertEqual(film_score.caption_precision("a man with a guitar", references), 0.5)
        self.assertEqual(film_score.caption_precision("", references), 0.0)
        self.assertEqual(
            film_score.summary([1.0, 0.5, 0.4, 0.0]),
            {"frames": 4, "content-word precision": 0.475, "right": 0.25, "partly right": 0.25, "wrong": 0.5},
        )


class WhatIsLearnt(unittest.TestCase):
    def test_captions_are_rows_of_ids(self) -> None:
        rows = lessons.as_rows(["A man, zebra!", " ".join(["dog"] * 40)], {"a": 2, "man": 4, "dog": 6})
        self.assertEqual(rows.shape, (2, LIMIT + 1))
        self.assertEqual(rows[0].tolist(), [2, 4, UNKNOWN, STOP] + [PADDING] * (LIMIT - 3))
        self.assertEqual(rows[1].tolist(), [6] * LIMIT + [STOP])
        self.assertEqual(trimmed(rows[:1]).tolist(), [[2, 4, UNKNOWN, STOP]])
        self.assertEqual(targets(rows[:1])[0, :4].tolist(), [2, 4, PADDING, STOP])

    def test_concepts_are_frequent_stems(self) -> None:
        captions = [["a dog runs", "dogs running"]] * 4 + [["the dog"]] * 3
        pictures = [Picture("", "", c, "train", "flickr8k") for c in captions]
        with mock.patch.object(lessons, "LEAST_PICTURES", 5):
            corpus = Corpus(pictures, ["a dogs running runs the"] * 5)
            stems, concepts = lessons.concepts_of(corpus)
        of = {w: (s, c) for w, s, c in zip(corpus.words, stems, concepts, strict=True)}
        self.assertEqual(of["dog"], of["dogs"])
        self.assertEqual(of["dog"][1], 0)
        self.assertEqual(of["runs"], of["running"])
        self.assertEqual(of["runs"][1], NO_CONCEPT, "with 4 pictures only")
        self.assertNotEqual(of["runs"][0], of["dog"][0])
        for word in ("a", "the", "<end>", "<unk>"):
            self.assertEqual(of[word], (FUNCTION, FUNCTION))

    def test_pictures_have_the_concepts_of_their_captions(self) -> None:
        small = small_lessons(held_out=[1])
        self.assertEqual(small.count, 3)
        present = small.present(torch.device("cpu"))
        self.assertEqual(present.int().tolist(), [[1, 1, 1], [1, 1, 1], [1, 0, 0]])
        self.assertEqual(small.references(1), [[2, 6, 8, STOP], [5, STOP]])
        self.assertEqual((small.train("flickr8k", "web"), small.held("flickr8k"), small.held("web")), ([0, 2], [1], []))

    def test_lists_of_concepts_are_noisy(self) -> None:
        torch.manual_seed(0)
        small = small_lessons()
        ids, table = small.captions.long().repeat(200, 1), torch.tensor(small.concepts)
        told = told_concepts(ids, table, small.count)
        self.assertEqual(told.shape, (1200, 3))
        self.assertTrue(float(told.min()) >= 0 and float(told.max()) <= 1)
        man, nothing = told[0::6, 0], told[5::6]
        self.assertAlmostEqual(float((man >= 0.25).float().mean()), 0.75 + 0.25 * 0.4, delta=0.08)
        self.assertGreater(float(man.mean()), float(nothing.mean()) + 0.2)

    def test_only_known_words_of_the_caption_teach(self) -> None:
        one = member()
        prefix, ids = torch.randn(2, 5, 16), torch.tensor([[[3, 4, STOP]], [[5, STOP, PADDING]]])
        whole, unknown = word_loss(one, prefix, ids), ids.clone()
        unknown[0, 0, 1] = UNKNOWN
        (hidden,) = one.teach(prefix, unknown)
        keep = torch.tensor([[[True, False, True]], [[True, True, False]]])
        wanted = nn.functional.cross_entropy(one.decoder.logits(hidden[keep]), unknown[keep], label_smoothing=0.1)
        torch.testing.assert_close(word_loss(one, prefix, unknown), wanted)
        first = word_loss(one, prefix, ids, torch.tensor([1.0, 0.0]))
        torch.testing.assert_close(first, word_loss(one, prefix[:1], ids[:1]))
        self.assertFalse(torch.equal(whole, first))

    def test_words_that_no_caption_may_end_with(self) -> None:
        captions = [["a dog on a man", "a dog sitting"]] * 60
        table = {w: n for n, w in enumerate(["<end>", "<unk>", "a", "dog", "on", "man", "sitting", "seldom"])}
        small = small_lessons([*captions, ["seldom a"] * 60], held_out=[60])
        small.words = list(table)
        small.captions = lessons.as_rows([c for own in captions for c in own] + ["seldom a"] * 60, table)
        seen, share = shares_of_ends(small.captions[:120], len(table))
        self.assertEqual(seen.tolist(), [120, 0, 180, 120, 60, 60, 60, 0])
        self.assertEqual(share.tolist(), [0, 0, 0, 0, 0, 1, 1, 0])
        # "sitting" may end a caption; "seldom" occurs in held-out ones only.
        self.assertEqual([small.words[n] for n in open_words(small)], ["a", "dog", "on"])


class Members(unittest.TestCase):
    def setUp(self) -> None:
        torch.manual_seed(1)
        self.prefix = torch.randn(3, SHAPE.prefix, 16)

    def test_what_is_told_precedes_what_is_seen(self) -> None:
        mapper = MemberMapper(SHAPE).eval()
        evidence, told, style = torch.randn(2, 2, 6, 8), torch.rand(2, 2, 5), torch.tensor([0, 1])
        prefix = mapper(evidence[0], told[0], style)
        self.assertEqual(prefix.shape, (2, 5, 16))

        def changed(other: Tensor) -> list[bool]:
            return (other != prefix).any(2).any(0).tolist()

        self.assertEqual(changed(mapper(evidence[1], told[0], style)), [False] * 2 + [True] * 3)
        self.assertEqual(changed(mapper(evidence[0], told[1], style)), [True] * 2 + [False] * 3)
        self.assertEqual(changed(mapper(evidence[0], told[0], 1 - style)), [True] * 5)
        self.assertEqual(changed(mapper.told_only(told[0], style)), [False] * 2 + [True] * 3)

    def test_captions_are_taught_drawn_and_searched(self) -> None:
        one = member()
        ids = torch.tensor([[[3, 4, STOP], [5, STOP, PADDING]]] * 3)
        (hidden,) = one.teach(self.prefix, ids)
        self.assertEqual(hidden.shape, (3, 2, 3, 16))
        # The hidden state before a token does not know it.
        (other,) = one.teach(self.prefix, torch.where(ids == 4, 9, ids))
        torch.testing.assert_close(hidden[:, :, :2], other[:, :, :2])
        drawn = one.sample(self.prefix, 4, 7, STOP)
        self.assertEqual(drawn.shape, (3, 4, 7))
        ended = drawn.eq(STOP).cummax(2).values
        self.assertTrue(drawn[ended].eq(STOP).all(), "nothing follows the end")
        found = one.beam(self.prefix, 3, 7, STOP)
        for caption, logp in found:
            self.assertTrue(len(caption) <= 7 and STOP not in caption and logp < 0)

    def test_an_ensemble_of_one_searches_as_that_one(self) -> None:
        for seed in range(5):
            one = member(seed)
            alone = [ids for ids, _ in one.beam(self.prefix, 3, LIMIT, STOP)]
            self.assertEqual(ensemble(one).beam([self.prefix], 3), alone)
            self.assertEqual(ensemble(one, one).beam([self.prefix] * 2, 3), alone)
        self.assertNotEqual(ensemble(one, member(9)).beam([self.prefix] * 2, 3), alone)

    def test_words_without_support_are_avoided(self) -> None:
        support = torch.full((3, 20), LEAST)
        support[:, [STOP, 7, 9]] = 0
        captions = ensemble(member()).beam([self.prefix], 3, support, 100.0)
        self.assertLessEqual({t for c in captions for t in c}, {7, 9})
        self.assertEqual(
            ensemble(member()).beam([self.prefix], 3, support, 0.0), ensemble(member()).beam([self.prefix], 3)
        )

    def test_support_is_between_its_least_and_zero(self) -> None:
        concepts = torch.tensor([FUNCTION, 0, 1, NO_CONCEPT, 2, 0])
        logits = torch.tensor([[0.0, 1000.0, -1000.0], [2.0, -3.0, 200.0]])
        support = support_of(logits, concepts)
        half = float(np.log(0.5))
        torch.testing.assert_close(support[0], torch.tensor([0, half, 0, RARE, LEAST, half]))
        torch.testing.assert_close(support[1, 1:3], torch.tensor([2.0, -3.0]).sigmoid().log())
        self.assertTrue(((support <= 0) & (support >= LEAST)).all())

    def test_precision_counts_stems(self) -> None:
        source: Any = SimpleNamespace(device=torch.device("cpu"))
        judge = Judge(small_lessons(), source)
        self.assertEqual(judge.precision(0, [2, 5, 8, 10]), 2 / 3)  # a men running group
        self.assertEqual(judge.precision(0, [2, 3]), 0)


class Rewards(unittest.TestCase):
    def setUp(self) -> None:
        self.reward = Reward(small_lessons(), [0, 1, 2])

    def test_right_words_raise_and_wrong_ones_lower(self) -> None:
        truth, nothing = Truth(1.0, 0.6), Truth(0.0, 0.6)

        def worth(ids: list[int]) -> float:
            return self.reward.reward(2, truth, ids) - self.reward.reward(2, nothing, ids)

        self.assertAlmostEqual(worth([2, 4, STOP]), 0.4)
        self.assertAlmostEqual(worth([2, 5, STOP]), 0.4, msg="by its stem")
        self.assertAlmostEqual(worth([2, 4, 10, STOP]), 0.8)
        self.assertAlmostEqual(worth([2, 6, STOP]), -0.6)
        self.assertAlmostEqual(worth([2, 4, 6, STOP]), -0.2)

    def test_an_unfinished_caption_scores_less(self) -> None:
        nothing = Truth(0.0, 0.6)
        whole = self.reward.reward(0, nothing, [2, 4, 7, STOP])
        self.assertGreater(whole, self.reward.reward(0, nothing, [2, 4, 7]))
        self.assertGreater(whole, self.reward.reward(0, nothing, [2, 4, STOP]))

    def test_workers_change_nothing(self) -> None:
        jobs = [(n % 3, Truth(1.0, 0.6), [2, 4 + n, STOP]) for n in range(7)]
        alone, shared = RewardPool(self.reward, 1), RewardPool(self.reward, 2)
        self.addCleanup(rewards.__dict__.update, SHARED=None)
        self.assertEqual(alone(jobs), shared(jobs))
        if shared.pool:
            shared.pool.terminate()
            shared.pool.join()


class Export(unittest.TestCase):
    def graph(self) -> tuple[vision.ConceptHead, list[Member], MappersGraph]:
        small, members = small_lessons(), [member(0), member(1)]
        head = vision.ConceptHead(vision.SightShape(concepts=5, evidence=8)).eval()
        small.concepts = [c if c < 0 else c + 2 for c in small.concepts]  # 5 concepts
        return head, members, MappersGraph(head, members, small).eval()

    def test_padded_concepts_change_nothing(self) -> None:
        head, members, graph = self.graph()
        evidence = torch.randn(3, 64, 8)
        self.assertEqual(graph.concepts(evidence).shape, (3, 64))
        prefix, support = graph(evidence)
        logits, style = head(evidence), torch.zeros(3, dtype=torch.long)
        each = [m.member_mapper(evidence, logits.sigmoid(), style) for m in members]
        torch.testing.assert_close(prefix, torch.cat(each, 2))
        wanted = support_of(logits, graph.of_word)
        torch.testing.assert_close(support, wanted)
        of = dict(zip(WORDS, support[0].tolist(), strict=True))
        self.assertEqual([of[w] for w in ("<end>", "a", "group", "rarely")], [0, 0, 0, RARE])
        self.assertTrue(RARE < of["dog"] < 0)

    def test_support_does_not_depend_on_the_place_in_the_batch(self) -> None:
        torch.manual_seed(0)
        many, small = 1537, small_lessons()
        small.words, small.concepts = [str(n) for n in range(many)], list(range(many))
        head = vision.ConceptHead(vision.SightShape(concepts=many, evidence=8)).eval()
        with torch.no_grad():  # sure of much, as after training
            for layer in (head.cells, head.whole):
                layer.weight.mul_(60)
        graph = MappersGraph(head, [Member(replace(SHAPE, concepts=many))], small).eval()
        evidence = torch.randn(7, 64, 8) * 3
        with tempfile.TemporaryDirectory() as name:
            path, outputs = Path(name, "mapper.onnx"), ["prefix", "support"]
            write_graph(graph, (evidence[:2],), path, (["input"], outputs), batched("input", *outputs), "fp32")
            run = session(path, intra_op_num_threads=1).run
            _, whole = run(outputs, {"input": evidence.numpy()})
            alone = [run(outputs, {"input": evidence[n : n + 1].numpy()})[1][0] for n in range(7)]
        self.assertEqual(whole.tobytes(), np.stack(alone).tobytes())
        torch.testing.assert_close(torch.from_numpy(whole), graph(evidence)[1], rtol=0, atol=1e-3)


class Sentences(unittest.TestCase):
    def test_published_names_become_ours(self) -> None:
        with mock.patch.multiple(sentences, LAYERS=1, VOCABULARY=50, POSITIONS=40):
            tower = sentences.SentenceTower(4).eval()
            embeddings = ("word_embeddings.weight", "position_embeddings.weight", "LayerNorm.weight", "LayerNorm.bias")
            theirs = {f"embeddings.{n}": p for n, p in zip(embeddings, ours(tower), strict=True)}
            theirs["embeddings.token_type_embeddings.weight"] = torch.rand(2, sentences.WIDTH)
            own = ("query", "key", "value", "out", "ln_attention", "fc", "fc_out", "ln_out")
            parts = "attention.self.query attention.self.key attention.self.value attention.output.dense "
            parts += "attention.output.LayerNorm intermediate.dense output.dense output.LayerNorm"
            for name, part in zip(own, parts.split(), strict=True):
                for kind in ("weight", "bias"):
                    theirs[f"encoder.layer.0.{part}.{kind}"] = getattr(getattr(tower.layers[0], name), kind)
            loaded = tower.load_state_dict(sentences.renamed(theirs), strict=False)
        self.assertEqual((loaded.missing_keys, loaded.unexpected_keys), (["out.weight", "out.bias"], []))
        ids = torch.tensor([[5, 6, 7]])
        torch.testing.assert_close(tower(ids), tower(torch.tensor([[5, 6, 7, 0, 0]])))

    def test_texts_have_one_length(self) -> None:
        text = word_tokenizer(WORDS).to_str()
        tokenizer = sentences.tokenizer_of(text)
        self.assertEqual([len(e.ids) for e in tokenizer.encode_batch(["a dog", "dog " * 50])], [sentences.LENGTH] * 2)


def ours(tower: sentences.SentenceTower) -> Iterator[Tensor]:
    """The text tower's tensors before its layers."""
    yield from (tower.words.weight, tower.places.weight, tower.norm.weight, tower.norm.bias)


if __name__ == "__main__":
    unittest.main()
