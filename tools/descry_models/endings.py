"""Words that no caption may end with, from how people end captions.

A caption whose doubtful end was cut off must still read like one. "A man is sitting on the" must go back to "a man is
sitting", and "a dog and a black" to "a dog".
"""

from __future__ import annotations

import torch
from torch import Tensor

from .lessons import STOP, UNKNOWN, Lessons

# A word is open if fewer of its occurrences than this end a caption.
LEAST_ENDS = 0.01
# A word that occurs less often shows too little.
LEAST_SEEN = 50
# Subjects and verbs that may end a shortened caption, though people go on after them.
CLOSED = frozenset(
    """sitting standing laying lying leaning kneeling sits stands lays lies sit stand lay lie riding rides ride
    crouching squatting group couple bunch pair""".split()
)
# Words that do end captions of people, but hardly one that was cut: colours and materials, prepositions, and what goes
# before "of".
OPEN = frozenset(
    """white black red blue green yellow brown orange pink purple gray grey tan silver gold golden colored striped
    brick wooden plastic leather metal
    on over by around behind along beside about between above below
    her front top side back middle piece one which what who she he they like be""".split()
)


def shares_of_ends(captions: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """How often each word occurs in captions [N,T], and the share of these that end one."""
    ids = captions.long()
    seen = torch.bincount(ids[ids >= 0], minlength=count).float()
    length = (ids >= 0).sum(1)
    rows = torch.arange(len(ids))
    ended = (length > 1) & (ids[rows, length - 1] == STOP)
    ends = torch.bincount(ids[rows, (length - 2).clamp_min(0)][ended], minlength=count).float()
    return seen, ends / seen.clamp_min(1)


def open_words(lessons: Lessons) -> list[int]:
    """Ids of the words that no caption may end with, ascending."""
    own = torch.tensor(lessons.starts).diff()
    trained = (~lessons.held_out).repeat_interleave(own)
    seen, share = shares_of_ends(torch.cat((lessons.captions[trained], lessons.texts)), len(lessons.words))
    return [
        number
        for number, word in enumerate(lessons.words)
        if number > UNKNOWN
        and word not in CLOSED
        and (word in OPEN or (seen[number] >= LEAST_SEEN and share[number] < LEAST_ENDS))
    ]
