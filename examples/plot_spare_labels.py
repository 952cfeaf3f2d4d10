"""
Five hundred spare labels: at most five percent errors
======================================================

Labels that the classifier was not fitted on buy a proof: a threshold from which on at most 5 % of
the predictions are wrong.
"""

# %%
# Real images of handwritten digits, turned, and the tiny CLIP that ships with skclip. Eight
# labelled images per class adapt it, 500 others calibrate, and the rest stands for what comes
# later.
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import PercentFormatter
from sklearn.frozen import FrozenEstimator

from skclip import BayesAdapterClassifier, ClassPrompts, CLIPFeaturizer, SelectiveClassifier
from skclip.datasets import load_digits_images, tiny_clip
from skclip.metrics import (
    ClassReliabilityDisplay,
    ErrorDisplay,
    risk_coverage_curve,
    selective_table,
)

data = load_digits_images(shift="rotated")
featurizer = CLIPFeaturizer(pretrained=tiny_clip())
X, y = featurizer.fit_transform(data.images), data.labels
order = np.random.default_rng(0).permutation(len(X))
support, spare, new = order[:80], order[80:580], order[580:]

prompts = ClassPrompts(featurizer, templates="a photo of the digit {}.")
classifier = BayesAdapterClassifier(prompts).fit(X[support], y[support])
selective = SelectiveClassifier(FrozenEstimator(classifier), target_risk=0.05)
selective.fit(X[spare], y[spare])
print(selective.predict(X[new[:8]]))

# %%
# Right and wrong predictions of the later images over their confidence, and the threshold: what
# lies right of it is accepted. Below, the errors among the most confident share of the later
# images; the cross is what is accepted. The oracle, who knows the labels, would accept everything
# left of the place where the curve reaches 5 %: the distance to it is the price of a proof from
# 500 labels.
proba = classifier.predict_proba(X[new])
confidence, right = proba.max(axis=1), classifier.predict(X[new]) == y[new]
risk, coverage, *_ = selective.selective_score(X[new], y[new])

figure, (above, below) = plt.subplots(2, 1, figsize=(6.4, 6.4), layout="constrained")
above.hist(
    [confidence[right], confidence[~right]],
    bins=np.linspace(0.25, 1, 31),
    stacked=True,
    color=["#0072B2", "#D55E00"],
    label=["right", "wrong"],
)
above.axvline(selective.threshold_, color="0.3")
above.annotate(
    f"accepted from {selective.threshold_:.2f}",
    (selective.threshold_, 0.92),
    xycoords=("data", "axes fraction"),
    xytext=(-6, 0),
    textcoords="offset points",
    ha="right",
)
above.set(xlabel="confidence", ylabel="later images")
above.legend(loc="center left")

curve_coverage, curve_risk, _ = risk_coverage_curve(y[new], proba, labels=classifier.classes_)
below.plot(curve_coverage, curve_risk, color="#0072B2")
below.axhline(0.05, color="0.55", linewidth=1)
below.plot(coverage, risk, "X", color="#D55E00", markersize=10)
below.annotate(
    f"{coverage:.0%} accepted,\n{risk:.1%} wrong",
    (coverage, risk),
    xytext=(-10, 24),
    textcoords="offset points",
    ha="right",
)
below.set(xlabel="share accepted", ylabel="wrong among accepted", ylim=(0, None))
below.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
below.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))

# %%
# What is kept on average need not be kept for every class. The confusion matrix has a column of
# abstentions, and the table says what is accepted of every digit and how much of it is wrong.
ErrorDisplay.from_estimator(selective, X[new], y[new], name="at most 5 % errors")

# %%
selective_table(
    y[new],
    proba,
    selective.accept(X[new]),
    labels=classifier.classes_,
    y_support=y[spare],
    target_risk=0.05,
).round(3)

# %%
# Whether confidences are right can be asked for every class, too.
ClassReliabilityDisplay.from_estimator(classifier, X[new], y[new], name="all predictions")
