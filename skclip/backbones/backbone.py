"""A loaded CLIP model as two functions, images -> rows and texts -> rows."""

import contextlib
import functools
import hashlib
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from skclip.backbones.batch_size import automatic_batch_size
from skclip.backbones.open_clip_import import import_open_clip
from skclip.backbones.tokenizer import make_tokenizer
from skclip.utils.messages import listing

__all__ = ["Backbone"]

logger = logging.getLogger(__name__)


class Backbone:
    """A CLIP model in evaluation mode, without gradients; made by :func:`get_backbone`.

    Its methods may be called from several threads. Rows come out raw, as the projections
    of the two towers give them, and in float32 whatever the precision.

    Parameters
    ----------
    model : torch.nn.Module
        An open_clip model with its weights.
    preprocess : callable
        PIL image -> tensor (3, h, w): the model's own validation preprocessing.
    model_name : str
        The architecture, or "hf-hub:..." or "local-dir:...".
    model_config : dict
        open_clip's configuration of the model.
    tokenizer_name : str
        What open_clip looks the tokenizer up by.
    device : torch.device
    precision : str

    Attributes
    ----------
    most : int or None
        A batch that was too large, halved; None as long as every batch fitted.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        preprocess: Callable[[Any], torch.Tensor],
        model_name: str,
        model_config: dict[str, Any],
        tokenizer_name: str,
        device: torch.device,
        precision: str,
    ) -> None:
        self.model: Any = model  # its attributes are those of open_clip's classes
        self.preprocess = preprocess
        self.model_name = model_name
        self.model_config = model_config
        self.tokenizer_name = tokenizer_name
        self.device = device
        self.precision = precision
        self.most: int | None = None
        self._steps, self._normalization = _split(preprocess)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Backbone({self.model_name!r}, device={str(self.device)!r}, {self.precision})"

    @property
    def embedding_dim(self) -> int:
        """The length of a row."""
        return int(self.model_config["embed_dim"])

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width, in pixels, of what the image tower sees."""
        size = self.model.visual.image_size
        return (size, size) if isinstance(size, int) else tuple(size)

    @functools.cached_property
    def batch_size(self) -> int:
        """Images that use the device well; a batch that does not fit after all is halved."""
        return automatic_batch_size(self.encode_images, self.image_size, self.device)

    @property
    def logit_scale(self) -> float:
        """The factor of the cosine similarity in the model's logits, exponential taken."""
        return float(self.model.logit_scale.detach().cpu().double().exp())

    @property
    def logit_bias(self) -> float | None:
        """What SigLIP models add to the scaled similarity; None for a model without it."""
        bias = getattr(self.model, "logit_bias", None)
        return None if bias is None else float(bias)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the weights as loaded: names, types, shapes and bytes, in hexadecimal."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()

    @property
    def image_identity(self) -> dict[str, Any]:
        """Everything that decides an image's row beside its pixels; what JSON can express.

        Not the device and the batch size, which change rows by rounding only.
        """
        return {**self._identity, "preprocessing": self.model.visual.preprocess_cfg}

    @property
    def text_identity(self) -> dict[str, Any]:
        """Everything that decides a text's row beside its token numbers."""
        return self._identity

    @property
    def _identity(self) -> dict[str, Any]:
        # The configuration says what the weights do not: the activation, the number of heads.
        return {
            "weights": self.fingerprint,
            "config": self.model_config,
            "precision": self.precision,
        }

    def prepare(self, image: Image.Image) -> np.ndarray | torch.Tensor:
        """The half of the preprocessing that is done per image, in workers.

        Resizing and cropping are Pillow's. Scaling to [0, 1] and normalising are the same
        arithmetic for every pixel: :meth:`stack` does them once per batch, on the device, and
        gives the same numbers from a quarter of the memory.
        """
        if self._normalization is None:
            return self.preprocess(image)
        for step in self._steps:
            image = step(image)
        return np.asarray(image)

    def stack(self, prepared: Sequence[Any]) -> torch.Tensor:
        """Outputs of :meth:`prepare` as the model's input, (b, 3, h, w), float32."""
        if self._normalization is None:
            return torch.stack(list(prepared))
        stacked = torch.from_numpy(np.stack(prepared)).permute(0, 3, 1, 2).contiguous()
        pinned = self.device.type == "cuda"  # an asynchronous copy needs pinned memory
        stacked = stacked.pin_memory() if pinned else stacked
        stacked = stacked.to(self.device, non_blocking=pinned)
        mean, std = (values.to(self.device) for values in self._normalization)
        return stacked.to(torch.float32).div_(255).sub_(mean).div_(std)

    def encode_images(self, batch: torch.Tensor) -> np.ndarray:
        """Encode preprocessed images.

        Parameters
        ----------
        batch : torch.Tensor of shape (b, 3, h, w)
            Output of :meth:`stack`, or stacked outputs of `preprocess`: of any floating-point
            type, on any device.

        Returns
        -------
        ndarray of shape (b, d), float32
            Raw image embeddings, not normalised.
        """
        dtype = import_open_clip().get_input_dtype(self.precision) or torch.float32
        return self._run(
            lambda images: self.model.encode_image(
                images.to(device=self.device, dtype=dtype), normalize=False
            ),
            batch,
        )

    def encode_texts(
        self, texts: Iterable[str], batch_size: int = 256, verbose: int = 0
    ) -> np.ndarray:
        """Encode texts as open_clip does: ``model.encode_text(tokenizer(texts))``.

        Parameters
        ----------
        texts : iterable of str
            At least one. What exceeds the model's context length is cut off.
        batch_size : int, default=256
        verbose : int, default=0
            Whether to show a progress bar.

        Returns
        -------
        ndarray of shape (n, d), float32
            Raw text embeddings, not normalised.

        Raises
        ------
        BackboneError
            If the model's tokenizer is unknown or cannot be loaded.
        ImportError
            If the tokenizer needs transformers and it is not installed.
        ValueError
            If `texts` is empty, a single string, or holds something else than strings.
        """
        return self.encode_tokens(self.tokenize(texts), batch_size, verbose)

    def tokenize(self, texts: Iterable[str]) -> torch.Tensor:
        """The token numbers of texts, (n, context length); errors as in :meth:`encode_texts`."""
        return self._tokenizer(_check_texts(texts))

    def cut_off(self, texts: Iterable[str]) -> list[int]:
        """Positions of the texts that exceed the context, of which the model sees the beginning."""
        texts = _check_texts(texts)
        end = self.tokenize([""])[0, -1]  # padding
        full = [i for i, row in enumerate(self.tokenize(texts)) if row[-1] != end]
        if not full:
            return []
        more = self.context_length + 1
        longer = self._tokenizer([texts[i] for i in full], context_length=more)
        return [i for i, row in zip(full, longer, strict=True) if row[-1] != end]

    @property
    def context_length(self) -> int:
        """Tokens of a text that the model sees, its beginning and end included."""
        return int(self.tokenize([""]).shape[1])

    def encode_tokens(
        self, tokens: torch.Tensor, batch_size: int = 256, verbose: int = 0
    ) -> np.ndarray:
        """Encode what :meth:`tokenize` gives: (n, context length) -> (n, d), float32."""
        from tqdm.auto import tqdm

        rows = np.empty((len(tokens), self.embedding_dim), dtype=np.float32)
        with tqdm(total=len(tokens), unit="text", disable=not verbose) as bar:
            for start in range(0, len(tokens), batch_size):
                batch = slice(start, start + batch_size)
                rows[batch] = self._run(
                    lambda ids: self.model.encode_text(ids.to(self.device), normalize=False),
                    tokens[batch],
                )
                bar.update(len(rows[batch]))
        return rows

    @property
    def _tokenizer(self) -> Callable[..., torch.Tensor]:
        """Made at the first text: images need no tokenizer."""
        with self._lock:
            return self._locked_tokenizer

    @functools.cached_property
    def _locked_tokenizer(self) -> Callable[..., torch.Tensor]:
        return make_tokenizer(self.tokenizer_name, self.model_config)

    def _run(
        self, encode: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor
    ) -> np.ndarray:
        """Encode a batch; when it does not fit in the GPU's memory, its halves."""
        try:
            with torch.inference_mode(), self._autocast():
                return encode(batch).float().cpu().numpy()
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
        half = len(batch) // 2
        logger.warning("out of memory with a batch of %d; trying %d", len(batch), half)
        self.most = min(half, self.most or half)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return np.concatenate([self._run(encode, part) for part in (batch[:half], batch[half:])])

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if not self.precision.startswith("amp"):
            return contextlib.nullcontext()
        dtype = torch.bfloat16 if self.precision == "amp_bf16" else None
        return torch.autocast(self.device.type, dtype=dtype)


def _split(
    preprocess: Callable[[Any], torch.Tensor],
) -> tuple[Sequence[Callable[[Any], Any]], tuple[torch.Tensor, torch.Tensor] | None]:
    """The steps up to RGB pixels, with mean and std of the rest; or nothing to be shared."""
    from torchvision.transforms import Compose, Normalize, ToTensor

    steps = preprocess.transforms if isinstance(preprocess, Compose) else []
    if len(steps) < 2 or not isinstance(steps[-2], ToTensor) or type(steps[-1]) is not Normalize:
        return [], None
    mean, std = (
        torch.as_tensor(values, dtype=torch.float32).reshape(-1, 1, 1)
        for values in (steps[-1].mean, steps[-1].std)
    )
    return steps[:-2], (mean, std)


def _check_texts(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, str):
        raise ValueError(
            f"texts must be a collection of strings; got the single string {texts!r}. "
            "Wrap it in a list."
        )
    texts = list(texts)
    if not texts:
        raise ValueError("texts must hold at least one string; got none.")
    wrong = [(i, type(t).__name__) for i, t in enumerate(texts) if not isinstance(t, str)]
    if wrong:
        listed = listing(wrong, show=lambda item: f"item {item[0]} ({item[1]})")
        raise ValueError(f"texts must hold strings only; got {listed}. Convert them first.")
    return texts
