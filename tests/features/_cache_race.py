"""Processes that use, count and clear one cache folder until the time is over.

``python _cache_race.py CACHE_DIR SECONDS IMAGES`` prints a line of JSON for each: its role, how
often it did that, how many rows differ from those without a cache by more than rounding, and what
the log warned of. They are forked, because starting Python takes too long.
"""

import json
import logging
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch

import skclip
from skclip import ClassPrompts, CLIPFeaturizer
from skclip.datasets import tiny_clip

ROUNDING = 5e-6
NAMES = sorted(f"number {k}" for k in range(40))


class Warnings(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


def featurizer(**parameters):
    return CLIPFeaturizer(pretrained=tiny_clip(), device="cpu", **parameters)


def use(cache_dir, images, limit, expected, texts):
    """Wrong rows of one turn after the other: of some images, and of some texts."""
    cached = featurizer(cache_dir=cache_dir, cache_limit=limit)
    rng = np.random.default_rng(os.getpid())
    while True:
        some = rng.choice(len(images), 12, replace=False)
        found = cached.transform([images[i] for i in some])
        wrong = (np.abs(found - expected[some]).max(axis=1) > ROUNDING).sum()
        few = np.sort(rng.choice(len(NAMES), 5, replace=False))
        encoded = ClassPrompts(cached).encode([NAMES[i] for i in few]).vectors
        yield int(wrong + (np.abs(encoded - texts[few]).max(axis=1) > ROUNDING).sum())


def count(cache_dir):
    """Numbers that make no sense."""
    while True:
        info = skclip.cache_info(cache_dir)
        yield int((info.n_bytes > 0) != any(space.n_shards for space in info.spaces))


def clear(cache_dir):
    """Empty the folder, at times in quick succession."""
    rng = np.random.default_rng(os.getpid())
    while True:
        yield int(skclip.clear_cache(cache_dir) < 0)
        time.sleep(rng.choice([0.0, 0.0, 0.01, 0.1]))


def run(role, turns, seconds):
    warned = Warnings()
    logging.getLogger("skclip").addHandler(warned)
    n_turns, wrong, end = 0, 0, time.monotonic() + seconds
    while time.monotonic() < end:
        wrong += next(turns)
        n_turns += 1
    line = {"role": role, "turns": n_turns, "wrong": wrong, "warned": warned.messages}
    os.write(1, f"{json.dumps(line)}\n".encode())


def main():
    cache_dir, seconds, folder = sys.argv[1], float(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    images = sorted(str(path) for path in folder.rglob("*.png"))
    plain = featurizer()
    known = plain.transform(images), ClassPrompts(plain).encode(NAMES).vectors
    roles = {
        "use": use(cache_dir, images, None, *known),
        "use too": use(cache_dir, images, None, *known),
        "use little": use(cache_dir, images, "20 kB", *known),
        "count": count(cache_dir),
        "clear": clear(cache_dir),
    }
    children = []
    for role, turns in roles.items():
        child = os.fork()
        if not child:
            try:
                run(role, turns, seconds)
            except BaseException:
                logging.getLogger().exception(role)
                os._exit(1)
            os._exit(0)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.exit(max(map(abs, codes)))


if __name__ == "__main__":
    main()
