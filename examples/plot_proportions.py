"""
Other proportions than in the labels
====================================

As many labelled images of every class say nothing of how frequent the classes will be. Unlabelled
images do.
"""

# %%
# Real images of handwritten digits, turned, blurred, faded and noisy, and the tiny CLIP that ships
# with skclip. Four labelled images per class; then come images of which zeros, ones and twos
# are ten times as frequent as the others.
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import PercentFormatter
from sklearn.metrics import log_loss

from skclip import BayesAdapterClassifier, ClassPrompts, CLIPFeaturizer, LabelShiftClassifier
from skclip.datasets import load_digits_images, tiny_clip

data = load_digits_images(shift="combined")
featurizer = CLIPFeaturizer(pretrained=tiny_clip())
X, y = featurizer.fit_transform(data.images), data.labels
rng = np.random.default_rng(0)
support = np.concatenate([rng.permutation(np.flatnonzero(y == k))[:4] for k in np.unique(y)])
rest = rng.permutation(np.setdiff1d(np.arange(len(X)), support))
frequent = np.isin(y[rest], ["zero", "one", "two"])
new = rest[frequent | (np.arange(len(rest)) % 10 == 0)]

prompts = ClassPrompts(featurizer, templates="a photo of the digit {}.")
shifted = LabelShiftClassifier(BayesAdapterClassifier(prompts)).fit(X[support], y[support])
before = shifted.predict_proba(X[new])
after = shifted.adapt(X[new]).predict_proba(X[new])

# %%
# The estimate needs no labels. With it the probabilities are right for these images: fewer errors,
# and a smaller log-loss.
for name, proba in (("before", before), ("after", after)):
    wrong = np.mean(shifted.classes_[proba.argmax(axis=1)] != y[new])
    print(f"{name:7} errors {wrong:5.1%}   log-loss {log_loss(y[new], proba):.3f}")

names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
columns = np.searchsorted(shifted.classes_, names)
true = [np.mean(y[new] == name) for name in names]
figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
place = np.arange(len(names))
ax.bar(place, true, width=0.7, color="0.8", label="true")
ax.plot(place, shifted.support_priors_[columns], "s", color="#D55E00", label="labelled images")
ax.plot(place, shifted.priors_[columns], "o", color="#0072B2", label="estimated, without labels")
ax.set_xticks(place, names, rotation=45, ha="right", rotation_mode="anchor")
ax.set(ylabel="share of the images")
ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
ax.legend()
