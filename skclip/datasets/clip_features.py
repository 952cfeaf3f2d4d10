"""Synthetic image features and text prototypes with the geometry of CLIP and a known answer.

Conventions
-----------
c classes, d features, r informative dimensions, tau the logit scale. An image feature is

    x = a g + rho v + eta u,        a² + rho² + eta² = 1,

with g the direction that all images share, v a unit vector in the r informative
dimensions, u a unit vector in the rest; the three parts are orthogonal, so |x| = 1. The
prototype of class k is t_k = b h + beta q_k with h the direction that all texts share.
"""

from numbers import Integral, Real

import numpy as np
from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.utils import Bunch, check_random_state, check_scalar

__all__ = ["make_clip_features"]

# Squared lengths of the three parts of an image feature. With them the cosines are those of
# CLIP: about 0.5 between images of two classes, 0.1 between an image and another class's
# text, 0.2 to 0.3 between an image and its own class's text, 0.7 between two texts.
SHARED, INFORMATIVE, NUISANCE = 0.5, 0.35, 0.15
# The cosine of g and h. Well below 1 is the modality gap: images and texts lie in two cones.
CONE_COSINE = 0.16
# Concentration of v around its class direction at class_sep=1.
CONCENTRATION = 32.0


def make_clip_features(
    n_samples_per_class: int = 16,
    n_classes: int = 10,
    *,
    n_features: int = 512,
    n_informative: int = 32,
    n_test_per_class: int = 50,
    prior_quality: float = 0.8,
    class_sep: float = 1.0,
    imbalance: float = 1.0,
    logit_scale: float = 100.0,
    random_state: int | RandomState | None = None,
) -> Bunch:
    r"""Unit image features, text prototypes and the true class probabilities.

    In the informative dimensions, images of class :math:`k` follow the von Mises-Fisher
    distribution of mean direction :math:`\nu_k` (drawn uniformly) and concentration
    :math:`\kappa`. Everything else about an image is independent of its class, so that with
    balanced classes the linear form of CLIP's classifier holds exactly:

    .. math::
        p(y = k \mid x) = \mathrm{softmax}_k(\tau \langle x, w_k \rangle),
        \qquad w_k = \frac{\kappa}{\tau \rho} \nu_k .

    The text prototype of class :math:`k` points, within the informative dimensions, along
    a direction at cosine `prior_quality` with :math:`\nu_k` and has there the length of
    :math:`w_k`. A prior of quality 1 thus makes zero-shot classification exactly right,
    calibration included; quality 0 says nothing about the class, and a negative one
    misleads, while zero-shot stays as confident as before.

    Parameters
    ----------
    n_samples_per_class : int, default=16
        Training rows of a class (of the largest class under imbalance), at least 1.
    n_classes : int, default=10
        Number of classes c, at least 2.
    n_features : int, default=512
        Number of features d, at least ``n_informative + 3``.
    n_informative : int, default=32
        Dimension r of the subspace in which classes differ, at least 2. More classes in
        fewer dimensions overlap more.
    n_test_per_class : int, default=50
        Test rows of every class. The test set is balanced.
    prior_quality : float, default=0.8
        Cosine in [-1, 1] between what the text says and what is true of a class.
    class_sep : float, default=1.0
        Multiplies the concentration of the images around their class: 0 for classes that
        cannot be told apart.
    imbalance : float, default=1.0
        Size of the largest class over the smallest, at least 1. Sizes decay geometrically
        with the class index (a long tail) and are at least 1.
    logit_scale : float, default=100.0
        The logit scale tau that goes with the prototypes.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same arrays on every call.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes

        - X, ndarray of shape (n, d): training features with unit rows, float64;
        - y, ndarray of shape (n,): training classes 0..c-1, in shuffled order;
        - X_test, y_test: likewise, c times `n_test_per_class` rows;
        - proba_test, ndarray of shape (n_test, c): the true class probabilities of the test
          rows, under balanced classes;
        - prototypes, ndarray of shape (c, d): text prototypes with unit rows;
        - coef, ndarray of shape (c, d): the true weights w of the formula above;
        - logit_scale, float: the logit scale tau.

    Raises
    ------
    ValueError
        If there are too few features for the informative ones, or if prototypes of unit
        norm cannot be as sharp as the classes: ``class_sep`` too large for ``logit_scale``.

    Notes
    -----
    The cosines are those of real CLIP features at the defaults: about 0.5 between images of
    two classes, 0.25 between an image and its class's text, 0.1 between an image and
    another text, 0.7 between two texts. The cost is O((n + n_test) (d r + c)); 1000 classes with
    16 samples and 512 features take a few seconds.

    References
    ----------
    V. W. Liang et al., Mind the Gap: Understanding the Modality Gap in Multi-modal
    Contrastive Representation Learning, NeurIPS 2022.

    A. T. A. Wood, Simulation of the von Mises Fisher distribution, Communications in
    Statistics - Simulation and Computation, 1994.

    Examples
    --------
    >>> from skclip.datasets import make_clip_features
    >>> data = make_clip_features(4, 10, random_state=0)
    >>> data.X.shape, data.prototypes.shape
    ((40, 512), (10, 512))
    >>> logits = data.logit_scale * data.X_test @ data.prototypes.T
    >>> float((logits.argmax(axis=1) == data.y_test).mean())  # zero-shot accuracy
    0.916
    """
    check_scalar(n_samples_per_class, "n_samples_per_class", Integral, min_val=1)
    check_scalar(n_classes, "n_classes", Integral, min_val=2)
    check_scalar(n_features, "n_features", Integral, min_val=5)
    check_scalar(n_informative, "n_informative", Integral, min_val=2)
    check_scalar(n_test_per_class, "n_test_per_class", Integral, min_val=0)
    check_scalar(prior_quality, "prior_quality", Real, min_val=-1, max_val=1)
    check_scalar(class_sep, "class_sep", Real, min_val=0)
    check_scalar(imbalance, "imbalance", Real, min_val=1)
    check_scalar(logit_scale, "logit_scale", Real, min_val=0, include_boundaries="neither")

    concentration = CONCENTRATION * class_sep
    sharpness = concentration / (logit_scale * np.sqrt(INFORMATIVE))  # |w_k|, and beta
    _check_geometry(n_features, n_informative, sharpness, class_sep, logit_scale)
    rng = check_random_state(random_state)

    basis = np.linalg.qr(rng.standard_normal((n_features, n_informative + 2)))[0].T
    class_directions = _uniform_directions(n_classes, n_informative, rng)
    said = _directions_at_cosine(class_directions, prior_quality, rng)
    image_cone = basis[0]
    text_cone = CONE_COSINE * basis[0] + np.sqrt(1 - CONE_COSINE**2) * basis[1]
    prototypes = np.sqrt(1 - sharpness**2) * text_cone + sharpness * said @ basis[2:]

    def draw(y: np.ndarray) -> np.ndarray:
        """Image features of the classes y."""
        informative = _von_mises_fisher(class_directions[y], concentration, rng)
        nuisance = rng.standard_normal((len(y), n_features))
        nuisance -= nuisance @ basis.T @ basis
        nuisance /= np.linalg.norm(nuisance, axis=1, keepdims=True)
        X = np.sqrt(INFORMATIVE) * informative @ basis[2:] + np.sqrt(NUISANCE) * nuisance
        return X + np.sqrt(SHARED) * image_cone

    sizes = _long_tailed_sizes(n_samples_per_class, n_classes, imbalance)
    y = rng.permutation(np.repeat(np.arange(n_classes), sizes))
    y_test = np.repeat(np.arange(n_classes), n_test_per_class)
    X, X_test = draw(y), draw(y_test)
    coef = sharpness * class_directions @ basis[2:]
    return Bunch(
        X=X,
        y=y,
        X_test=X_test,
        y_test=y_test,
        proba_test=_softmax(logit_scale * X_test @ coef.T),
        prototypes=prototypes,
        coef=coef,
        logit_scale=float(logit_scale),
    )


def _check_geometry(
    n_features: int, n_informative: int, sharpness: float, class_sep: float, logit_scale: float
) -> None:
    if n_features < n_informative + 3:
        raise ValueError(
            "n_features must be at least n_informative + 3, for what images share, what texts "
            f"share and the rest; got n_features={n_features} and "
            f"n_informative={n_informative}. Lower n_informative."
        )
    if sharpness > 1:
        largest = logit_scale * np.sqrt(INFORMATIVE) / CONCENTRATION
        raise ValueError(
            "Prototypes of unit norm can be as sharp as the classes only if class_sep <= "
            f"{largest:.3g} at logit_scale={logit_scale:g}; got class_sep={class_sep:g}. "
            "Lower class_sep or raise logit_scale."
        )


def _long_tailed_sizes(largest: int, n_classes: int, imbalance: float) -> np.ndarray:
    """Class sizes that decay geometrically from `largest` to `largest / imbalance`."""
    decay = imbalance ** (-np.arange(n_classes) / (n_classes - 1))
    return np.maximum(1, np.rint(largest * decay)).astype(int)


def _uniform_directions(n: int, dim: int, rng: RandomState) -> np.ndarray:
    """Unit vectors of shape (n, dim), uniform on the sphere."""
    directions = rng.standard_normal((n, dim))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def _directions_at_cosine(means: np.ndarray, cosine: ArrayLike, rng: RandomState) -> np.ndarray:
    """Unit vectors at the given cosine (scalar or one per row) with the unit rows of `means`."""
    cosine = np.broadcast_to(cosine, len(means))[:, np.newaxis]
    tangent = rng.standard_normal(means.shape)
    tangent -= (tangent * means).sum(axis=1, keepdims=True) * means
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    return cosine * means + np.sqrt(1 - cosine**2) * tangent


def _von_mises_fisher(means: np.ndarray, concentration: float, rng: RandomState) -> np.ndarray:
    """One draw around each unit row of `means`, shape (n, dim): Wood's rejection sampler.

    The cosine w of a draw with its mean has density proportional to
    exp(concentration w) (1 - w²)^((dim - 3) / 2); the rest of its direction is uniform.
    """
    n, dim = means.shape
    b = (dim - 1) / (2 * concentration + np.hypot(2 * concentration, dim - 1))
    centre = (1 - b) / (1 + b)
    offset = concentration * centre + (dim - 1) * np.log1p(-(centre**2))
    cosines = np.empty(n)
    pending = np.arange(n)
    while len(pending):
        z = rng.beta((dim - 1) / 2, (dim - 1) / 2, size=len(pending))
        w = (1 - (1 + b) * z) / (1 - (1 - b) * z)
        log_ratio = concentration * w + (dim - 1) * np.log1p(-centre * w) - offset
        accepted = log_ratio >= np.log(rng.uniform(size=len(pending)))
        cosines[pending[accepted]] = w[accepted]
        pending = pending[~accepted]
    return _directions_at_cosine(means, cosines, rng)


def _softmax(logits: np.ndarray) -> np.ndarray:
    unnormalised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return unnormalised / unnormalised.sum(axis=1, keepdims=True)
