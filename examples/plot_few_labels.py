"""
Four labels per class and nothing else
======================================

No rows can be spared to calibrate on, and still every image gets the labels that it may have: the
support judges itself, every image by a model that was fitted without it.
"""

# %%
# Real images of handwritten digits, turned, blurred, faded and noisy, and the tiny CLIP that ships
# with skclip. Four labelled images per class; what is left stands for what comes later.
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import PercentFormatter

from skclip import BayesAdapterClassifier, ClassPrompts, CLIPFeaturizer, PredictionSetClassifier
from skclip.datasets import load_digits_images, tiny_clip

data = load_digits_images(shift="combined")
featurizer = CLIPFeaturizer(pretrained=tiny_clip())
X, y = featurizer.fit_transform(data.images), data.labels
rng = np.random.default_rng(0)
support = np.concatenate([rng.permutation(np.flatnonzero(y == k))[:4] for k in np.unique(y)])
new = np.setdiff1d(np.arange(len(X)), support)

prompts = ClassPrompts(featurizer, templates="a photo of the digit {}.")
sets = PredictionSetClassifier(BayesAdapterClassifier(prompts), confidence_level=0.9)
members = sets.fit(X[support], y[support]).predict_set(X[new])
codes = np.searchsorted(sets.classes_, y[new])

# %%
# Sets say how sure the classifier is: one label where an image is clear, several where it is not.
# Below is what was asked for, and what comes of it. The naive rule compares with the fitted
# images themselves, which the classifier knows: it covers less than it says.
levels = np.arange(0.5, 0.96, 0.05)
own = sets.predict_log_proba(X[support])
later = sets.predict_log_proba(X[new])
right = np.searchsorted(sets.classes_, y[support])
naive_scores = own.max(axis=1) - own[np.arange(len(own)), right]


def coverage(found):
    return found[np.arange(len(new)), codes].mean()


from_support = [
    coverage(
        sets.set_params(confidence_level=level).fit(X[support], y[support]).predict_set(X[new])
    )
    for level in levels
]
naive = [
    coverage(later.max(axis=1, keepdims=True) - later <= np.quantile(naive_scores, level))
    for level in levels
]

figure = plt.figure(figsize=(6.4, 6.6), layout="constrained")
above, below = figure.subfigures(2, 1)
shown = [np.flatnonzero(members.sum(axis=1) == size)[:n] for size, n in ((1, 4), (2, 2), (3, 2))]
for ax, row in zip(above.subplots(2, 4).ravel(), np.concatenate(shown), strict=True):
    ax.imshow(data.images[new[row]], cmap="gray_r")
    names = sets.classes_[members[row]]
    ax.set_title("\n".join([", ".join(names[:2]), *names[2:]]), fontsize=11)
    ax.axis("off")
ax = below.subplots()
ax.plot([0.5, 1], [0.5, 1], color="0.55", linewidth=1)
ax.plot(levels, from_support, marker="o", label="from the support, left out")
ax.plot(levels, naive, marker="s", linestyle="--", label="naive")
ax.set(xlabel="confidence level", ylabel="sets that hold the label")
ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
ax.legend()
