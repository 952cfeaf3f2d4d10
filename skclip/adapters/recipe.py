"""Parameters that classifiers share which train by stochastic gradients."""

from numbers import Integral, Real

from tqdm.auto import tqdm

from skclip._core.solve.sgd import Recipe
from skclip.utils.sklearn_private import Interval

__all__ = ["RecipeMixin"]


class RecipeMixin:
    """`max_iter` epochs (None: 300) of `batch_size` rows at `learning_rate`.

    A subclass has these as constructor parameters, with `prototype_norm` and `verbose`,
    and adds ``_recipe_constraints`` to its own.
    """

    _recipe_constraints: dict = {
        "prototype_norm": [Interval(Real, 0, None, closed="neither"), None],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def _recipe(self, **changes):
        """The recipe with the parameters of the estimator."""
        given = {
            "epochs": self.max_iter or Recipe.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
        }
        return Recipe(**{**given, **changes})

    def _start(self, task):
        """(c, d) prototypes as the recipe starts from them, of norm `prototype_norm`."""
        if self.prototype_norm is None:
            return task.prior_mean
        norms = task.prior_mean.norm(dim=1, keepdim=True)
        return task.prior_mean * (self.prototype_norm / norms)

    def _progress(self, recipe):
        """A progress bar over epochs, as the callback that drives it."""
        name = type(self).__name__.removesuffix("Classifier")
        bar = tqdm(total=recipe.epochs, desc=name, unit="epoch", disable=not self.verbose)

        def callback(epoch, loss):
            bar.update(1)
            bar.set_postfix(loss=f"{loss:.4f}")
            if epoch + 1 == recipe.epochs:
                bar.close()

        return callback
