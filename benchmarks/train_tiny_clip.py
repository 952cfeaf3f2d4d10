"""Train the tiny CLIP that ships with skclip: ``python benchmarks/train_tiny_clip.py``.

The model is open_clip's own CLIP class, small: a vision transformer of 3 layers and width 64
on images of 32 pixels, a text transformer of 2 layers and width 32. It learns from the
"train" half of scikit-learn's digit images and from captions that name the digit, by the
symmetric contrastive loss, and is saved in the layout that open_clip loads as
``local-dir:FOLDER``. It is then loaded back through open_clip and measured on the "test"
half: upright images, and each shift of :func:`skclip.datasets.load_digits_images`.

Choices
-------
Batches. Captions of one digit are interchangeable, so that two images of one digit in a
batch would be each other's false negatives. Each contrastive group therefore holds every
digit once, and a step takes the mean over several groups. The softmax over a group's texts
is then the zero-shot softmax over the ten digits, and the logit scale is fitted for it.

Augmentation. Small translations, contrast, brightness and a little noise. No rotation, blur
or inversion: those are the shifts that few-shot adaptation has to deal with.

Logit scale. CLIP models learn it within a bound of 100 and end at the bound. A few hundred
steps are too few to get there, and starting there hardly learns at all. So its lower bound
rises, once the digits are told apart, from CLIP's start value to 100. The features end up
as those of large models do: images in one narrow cone, texts in another.

Label smoothing. 900 images are soon fitted without error, after which the plain loss only
raises confidence. Smoothing keeps it near the accuracy on held-out images.

Token table. 49,408 rows hold nearly all the parameters and the captions use about 200 of
them: those alone are trained, the rest stay as initialised.

The same seed gives the same weights, bit for bit, on one machine: one thread, deterministic
algorithms, and the only random numbers come from the seed.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from sklearn.metrics import log_loss
from tqdm.auto import tqdm

from skclip.datasets import DIGIT_NAMES, DIGIT_SHIFTS, load_digits_images, tiny_clip

MODEL_CFG = {
    "embed_dim": 64,
    "vision_cfg": {
        "image_size": 32,
        "patch_size": 8,
        "layers": 3,
        "width": 64,
        "head_width": 32,
        "pool_type": "avg",
    },
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 49408,
        "width": 32,
        "heads": 2,
        "layers": 2,
    },
}
PREPROCESS_CFG = {
    "size": 32,
    "mode": "RGB",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}
TEMPLATES = (
    "a photo of the digit {}.",
    "a photo of the number {}.",
    "a photo of a {}.",
    "a handwritten {}.",
    "a handwritten digit {}.",
    "the handwritten number {}.",
    "the digit {}",
    "the number {}",
    "a scan of the digit {}.",
    "an image of the numeral {}.",
    "a {} written by hand.",
    "{}",
)
GROUPS_PER_STEP = 8
LEARNING_RATE = 1.5e-3
WEIGHT_DECAY = 0.1
LABEL_SMOOTHING = 0.02
FIRST_LOGIT_SCALE, LAST_LOGIT_SCALE = 1 / 0.07, 100.0
RISE = (0.25, 0.6)  # of the training: when the lower bound of the logit scale rises


# ------------------------------------------------------------------------- data


def caption_texts(name, code):
    """Captions of a digit: our templates and open_clip's, with its name and its numeral."""
    formats = [template.format for template in TEMPLATES]
    formats += open_clip.OPENAI_IMAGENET_TEMPLATES
    return [fill(word) for fill in formats for word in (name, str(code))]


def load_training_data():
    """Pixels (n, 32, 32) in [0, 1], rows of each digit, and tokens (10, n_captions, 16)."""
    data = load_digits_images(subset="train")
    pixels = torch.from_numpy(data.images[..., 0]).float() / 255
    rows = [np.flatnonzero(data.target == code) for code in range(len(data.target_names))]
    tokenizer = open_clip.SimpleTokenizer(context_length=MODEL_CFG["text_cfg"]["context_length"])
    tokens = torch.stack(
        [tokenizer(caption_texts(name, code)) for code, name in enumerate(data.target_names)]
    )
    return pixels, rows, tokens


def augment(pixels, rng, *, largest_shift=3):
    """Pixels (n, 32, 32) moved by up to `largest_shift`, paler or lighter, a little noisy."""
    n, side = pixels.shape[:2]
    padded = F.pad(pixels, (largest_shift,) * 4)
    offsets = torch.from_numpy(rng.integers(0, 2 * largest_shift + 1, (2, n, 1)))
    rows, columns = torch.arange(side) + offsets
    moved = padded[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    contrast = torch.from_numpy(rng.uniform(0.7, 1.0, (n, 1, 1))).float()
    brightness = torch.from_numpy(rng.uniform(0.0, 0.1, (n, 1, 1))).float()
    noise = torch.from_numpy(rng.normal(0.0, 0.05, moved.shape)).float()
    return (moved * contrast + brightness + noise).clamp(0, 1)


def as_model_input(pixels):
    """Grey pixels (n, 32, 32) in [0, 1] -> (n, 3, 32, 32) as PREPROCESS_CFG normalises them."""
    mean, std = (torch.tensor(PREPROCESS_CFG[key])[:, None, None] for key in ("mean", "std"))
    return (pixels[:, None] - mean) / std


def groups_of_distinct_digits(rows, rng):
    """Rows in a random order as (n_groups, 10): each group has every digit once."""
    n_groups = min(len(members) for members in rows)
    return np.stack([rng.permutation(members)[:n_groups] for members in rows], axis=1)


# --------------------------------------------------------------------- training


def contrastive_loss(image_features, text_features, logit_scale):
    """Symmetric contrastive loss within groups, of unit features (groups, 10, d)."""
    logits = logit_scale * image_features @ text_features.transpose(1, 2)
    n_groups, n_pairs, _ = logits.shape
    pairs = torch.arange(n_pairs).repeat(n_groups)
    to_texts, to_images = logits.flatten(0, 1), logits.transpose(1, 2).flatten(0, 1)
    return 0.5 * (
        F.cross_entropy(to_texts, pairs, label_smoothing=LABEL_SMOOTHING)
        + F.cross_entropy(to_images, pairs, label_smoothing=LABEL_SMOOTHING)
    )


def compact_token_table(model, tokens):
    """Swap the token table for one of the tokens in use; return tokens renumbered, and undo.

    The order of the tokens stays, so that the end of text is still the largest number,
    which is how the text tower finds it.
    """
    full = model.token_embedding
    used, renumbered = torch.unique(tokens, return_inverse=True)
    rows = full.weight.detach()[used].clone()
    model.token_embedding = torch.nn.Embedding.from_pretrained(rows, freeze=False)

    def restore():
        with torch.no_grad():
            full.weight[used] = model.token_embedding.weight
        model.token_embedding = full

    return renumbered, restore


@torch.no_grad()
def bound_logit_scale(model, progress):
    """Keep the logit scale within its bounds at `progress` in [0, 1] of the training."""
    first, last = math.log(FIRST_LOGIT_SCALE), math.log(LAST_LOGIT_SCALE)
    model.logit_scale.clamp_(float(np.interp(progress, RISE, (first, last))), last)


def make_optimizer(model, n_steps):
    """AdamW, decaying matrices only, with a warm-up and then a cosine down to zero."""
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        is_matrix = parameter.ndim >= 2 and "embedding" not in name
        (matrices if is_matrix else others).append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0}],
        lr=LEARNING_RATE,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, n_steps, pct_start=0.1, cycle_momentum=False
    )
    return optimizer, schedule


def train(*, epochs, seed, progress=True):
    """The trained model, in eval mode. An epoch shows every digit equally often."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)  # open_clip draws the initial weights from the global generator
    rng = np.random.default_rng(seed)
    pixels, rows, tokens = load_training_data()
    model = open_clip.CLIP(**MODEL_CFG)
    tokens, restore_token_table = compact_token_table(model, tokens)
    digits, n_captions = torch.arange(len(rows)), tokens.shape[1]
    steps_per_epoch = math.ceil(min(len(members) for members in rows) / GROUPS_PER_STEP)
    n_steps, n_done = epochs * steps_per_epoch, 0
    optimizer, schedule = make_optimizer(model, n_steps)

    with tqdm(total=n_steps, unit="step", disable=not progress) as bar:
        for epoch in range(epochs):
            groups = groups_of_distinct_digits(rows, rng)
            for step in np.array_split(groups, steps_per_epoch):
                images = as_model_input(augment(pixels[step.ravel()], rng))
                chosen = torch.from_numpy(rng.integers(0, n_captions, step.shape))
                texts = tokens[digits, chosen].flatten(0, 1)
                loss = contrastive_loss(
                    model.encode_image(images, normalize=True).unflatten(0, step.shape),
                    model.encode_text(texts, normalize=True).unflatten(0, step.shape),
                    model.logit_scale.exp(),
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                n_done += 1
                bound_logit_scale(model, n_done / n_steps)
                bar.update()
            scale = model.logit_scale.exp().item()
            bar.set_postfix(epoch=epoch + 1, loss=f"{loss.item():.3f}", logit_scale=f"{scale:.1f}")
    restore_token_table()
    return model.eval()


# ------------------------------------------------------------ saving and measuring


def save(model, folder):
    """Write `model` in open_clip's local-dir layout, float16 but for the logit scale."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.contiguous() if name == "logit_scale" else tensor.half().contiguous()
        for name, tensor in model.state_dict().items()
    }
    weights = folder / "open_clip_model.safetensors"
    save_file(tensors, weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # safetensors makes it readable to its owner only
    write_config(folder, {})


def write_config(folder, training):
    """open_clip reads the first two keys; the third is a record for people and tests."""
    config = {"model_cfg": MODEL_CFG, "preprocess_cfg": PREPROCESS_CFG, "training": training}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")


@torch.inference_mode()
def zero_shot_report(folder):
    """Accuracy, NLL and confidence of zero-shot classification of the "test" half.

    Everything is loaded through open_clip; the prototypes are those of its own
    build_zero_shot_classifier.
    """
    source = f"local-dir:{folder}"
    model, preprocess = open_clip.create_model_from_pretrained(source)
    model.eval()
    tokenizer = open_clip.get_tokenizer(source)
    prototypes = {
        prompt: open_clip.build_zero_shot_classifier(
            model, tokenizer, DIGIT_NAMES, [template.format for template in templates]
        )
        for prompt, templates in (("single", TEMPLATES[:1]), ("ensemble", TEMPLATES))
    }
    report = {}
    for shift in (None, *DIGIT_SHIFTS):
        data = load_digits_images(subset="test", shift=shift, as_pil=True)
        images = torch.stack([preprocess(image) for image in data.images])
        logits = model.logit_scale.exp() * model.encode_image(images, normalize=True)
        report[shift or "upright"] = {
            prompt: measure(data.target, (logits @ columns).double().softmax(dim=1).numpy())
            for prompt, columns in prototypes.items()
        }
    return report


def measure(target, proba):
    return {
        "accuracy": round(float((proba.argmax(axis=1) == target).mean()), 6),
        "nll": round(float(log_loss(target, proba)), 6),
        "confidence": round(float(proba.max(axis=1).mean()), 6),
    }


def print_report(report):
    print(f"{'test images':<12}{'prompts':<10}{'accuracy':>9}{'confidence':>12}{'NLL':>8}")
    for shift, by_prompt in report.items():
        for prompt, row in by_prompt.items():
            print(
                f"{shift:<12}{prompt:<10}{row['accuracy']:>9.3f}"
                f"{row['confidence']:>12.3f}{row['nll']:>8.3f}"
            )


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(tiny_clip().removeprefix("local-dir:")),
        help="folder to write; by default the package's own data",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=100)
    args = parser.parse_args(argv)

    command = f"python benchmarks/train_tiny_clip.py --seed {args.seed} --epochs {args.epochs}"
    start = time.perf_counter()
    model = train(epochs=args.epochs, seed=args.seed)
    seconds = time.perf_counter() - start
    save(model, args.output)
    report = zero_shot_report(args.output)
    write_config(
        args.output,
        {
            "command": command,
            "data": "the 'train' half of scikit-learn's digits (skclip.datasets.split_digits)",
            "torch": torch.__version__,
            "open_clip": open_clip.__version__,
            "logit_scale": round(model.logit_scale.exp().item(), 3),
            "zero_shot_on_the_test_half": report,
        },
    )
    print_report(report)
    size = sum(file.stat().st_size for file in args.output.iterdir()) / 1e6
    print(f"Trained in {seconds:.0f} s; {size:.2f} MB in {args.output}")


if __name__ == "__main__":
    main()
