"""Training by stochastic gradients: the parameters, the recipe they make, its progress."""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

from sklearn.base import BaseEstimator
from tqdm.auto import tqdm

from skclip._core.solve.sgd import Recipe
from skclip.utils.sklearn_private import Interval

__all__ = ["RECIPE_CONSTRAINTS", "progress_bar", "recipe_of"]

# `max_iter` epochs (None: 300) of `batch_size` rows at `learning_rate`.
RECIPE_CONSTRAINTS: dict = {
    "prototype_norm": [Interval(Real, 0, None, closed="neither"), None],
    "max_iter": [Interval(Integral, 1, None, closed="left"), None],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "batch_size": [Interval(Integral, 1, None, closed="left")],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}


def recipe_of(estimator: BaseEstimator, **changes: Any) -> Recipe:
    """The recipe with the parameters of the estimator."""
    given = {
        "epochs": estimator.max_iter or Recipe.epochs,
        "batch_size": estimator.batch_size,
        "learning_rate": estimator.learning_rate,
    }
    return Recipe(**{**given, **changes})


def progress_bar(estimator: BaseEstimator, recipe: Recipe) -> Callable[[int, float], None]:
    """A progress bar over epochs, as the callback that drives it."""
    name = type(estimator).__name__.removesuffix("Classifier")
    bar = tqdm(total=recipe.epochs, desc=name, unit="epoch", disable=not estimator.verbose)

    def callback(epoch: int, loss: float) -> None:
        bar.update(1)
        bar.set_postfix(loss=f"{loss:.4f}")
        if epoch + 1 == recipe.epochs:
            bar.close()

    return callback
