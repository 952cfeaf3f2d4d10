"""
What the model does not know, and what to label next
====================================================

A posterior over the prototypes tells two kinds of doubt apart: an image that is ambiguous
whatever the weights, and one on which the weights have not been settled yet. The second
kind finds images of a class that nobody told the model about, and images worth labelling.
"""

# %%
# Real images of handwritten digits, turned, blurred, faded and noisy, and the tiny CLIP
# that ships with skclip.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import log_loss, roc_auc_score

from skclip import BayesAdapterClassifier, ClassPrompts, CLIPFeaturizer, Laplace
from skclip.datasets import load_digits_images, tiny_clip

data = load_digits_images(shift="combined")
featurizer = CLIPFeaturizer(pretrained=tiny_clip())
X, y = featurizer.fit_transform(data.images), data.labels
prompts = ClassPrompts(featurizer, templates="a photo of the digit {}.")
names = np.unique(y)
rng = np.random.default_rng(0)
order = rng.permutation(len(X))
pool, test = order[:448], order[448:]

# %%
# A class that nobody told the model about
# ----------------------------------------
# Nine digits with eight images each; the tenth appears at test time only.
hidden = "nine"
known = names[names != hidden]
support = np.concatenate([pool[y[pool] == k][:8] for k in known])
classifier = BayesAdapterClassifier(prompts, posterior=Laplace(temperature=0.1))
classifier.fit(X[support], y[support])
parts = classifier.predict_uncertainty(X[test])

figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for ax, name in zip(axes, ("aleatoric", "epistemic"), strict=True):
    values, unseen = getattr(parts, name), y[test] == hidden
    auroc = roc_auc_score(unseen, values)
    bins = np.linspace(0, values.max(), 25)
    ax.hist(values[~unseen], bins, density=True, alpha=0.6, label="digits with labels")
    ax.hist(values[unseen], bins, density=True, alpha=0.6, label=f"{hidden}, without")
    ax.set(xlabel=f"{name} uncertainty (nats)", ylabel="density", title=f"AUROC {auroc:.2f}")
figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)

# %%
# What to label next
# ------------------
# One image per class to begin with; then the image with the largest mutual information
# of label and weights, or a random one, ten labels at a time. Means over five starts.
text = prompts.encode(names)


def learning_curve(kind, start):
    """Log-loss on the test images after every ten labels."""
    rng = np.random.default_rng(start)
    shuffled = rng.permutation(pool)
    labelled = [shuffled[y[shuffled] == k][0] for k in names]
    losses = []
    for _ in range(10):
        model = BayesAdapterClassifier(text).fit(X[labelled], y[labelled])
        losses.append(log_loss(y[test], model.predict_proba(X[test])))
        rest = np.setdiff1d(pool, labelled)
        worth = rng.random(len(rest)) if kind == "random" else model.acquisition(X[rest], kind)
        labelled.extend(rest[np.argsort(worth)[-10:]])
    return losses


figure, ax = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
for kind in ("random", "entropy", "bald"):
    curves = np.mean([learning_curve(kind, start) for start in range(5)], axis=0)
    ax.plot(10 * np.arange(1, 11), curves, marker="o", label=kind)
ax.set(xlabel="labelled images", ylabel="log-loss on test images (nats)")
ax.legend()
