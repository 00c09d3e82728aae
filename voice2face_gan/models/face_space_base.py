"""What the face embedding spaces have in common: e, read from a face by a frozen face network.

    face (aligned) -> chip -> network -> embedding (K), sex and age (2) -> e (64)

Of most spaces e holds the leading principal components of the embedding, each of variance 1, and in its last
two elements the standardised sex and age. Reading is differentiable: a generated face can be asked for the e
it was made from, and `target` says which embedding an e calls for.

    FaceSpace          models/face_embedding_space.py, by dlib's network (extra `faces`)
    ClassifierSpace    models/classifier_space.py, by the face classifier that ships
    ReaderSpace        models/reader_space.py, by any face reader, whose feature is e: of its size, without
                       components, sex and age
"""

import hashlib
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from voice2face_gan.faces.align import ZOOM_ABOUT
from voice2face_gan.faces.pixels import to_unit

SIZE = 64
COMPONENTS = SIZE - 2
SEX, AGE = COMPONENTS, COMPONENTS + 1  # places in e


class BaseFaceSpace(nn.Module):
    """Reads e from aligned faces; a kind of space has `read` and `of_map` besides.

    Attributes:
        map_shapes: everything but the network, buffer's name -> shape: what a checkpoint keeps. Among them
            chip (3,), where a chip's pixels lie in the aligned face, and centre (K,), basis (K, 62) and
            scale (62,): embedding = centre + basis @ (scale * e[:62]).
        prefix, naming: what the space's name begins with; the buffers whose hash ends it.
        chip_side: pixels of a chip.
        net: the face network.
        size: numbers of e.
        kept_in_stores: stores may keep e of their faces (data/face_embedding.py).
        piece: faces read together.
        about: how the space was fitted.
    """

    map_shapes: ClassVar[dict[str, tuple[int, ...]]]
    prefix: ClassVar[str]
    naming: ClassVar[tuple[str, ...]]
    chip_side: int
    size: int = SIZE
    kept_in_stores: ClassVar[bool] = True
    piece: ClassVar[int] = 128

    def __init__(self, net: nn.Module, map_shapes: dict[str, tuple[int, ...]] | None = None):
        """
        Args:
            net: the face network.
            map_shapes: where they are not the kind's own.
        """
        super().__init__()
        self.net = net
        if map_shapes is not None:
            self.map_shapes = map_shapes
        for name, shape in self.map_shapes.items():
            self.register_buffer(name, torch.zeros(shape))
        self.about: dict = {}

    @property
    def name(self) -> str:
        parts = (getattr(self, name).cpu().numpy().tobytes() for name in self.naming)
        return f"{self.prefix}-{hashlib.sha256(b''.join(parts)).hexdigest()[:8]}"

    def at_zoom(self, zoom: float) -> Self:
        """The space itself, from now on of faces so much larger than the template lays them; a chip shows the
        same part of a face as before."""
        ratio = zoom / self.about.get("zoom", 1.0)
        fixed = self.chip.new_tensor([0.0, *(2 * ZOOM_ABOUT - 1).tolist()])
        self.chip.copy_(fixed + ratio * (self.chip - fixed))
        self.about = {**self.about, "zoom": zoom}
        return self

    @property
    def network(self) -> str:
        """A hash of the network's weights."""
        parts = (part.cpu().numpy().tobytes() for part in self.net.state_dict().values())
        return hashlib.sha256(b"".join(parts)).hexdigest()[:8]

    def chips(self, faces: Tensor, disturbed: Tensor | None = None) -> Tensor:
        """float (B, 3, side, side) -> (B, 3, chip_side, chip_side), of the same range.

        Aligned faces are upright, and so is a chip: rows and columns are resampled (bicubic) one after the
        other, by matrix products, which are much faster backwards than a grid.

        Args:
            disturbed: (B, 3) further zoom of the places that a chip shows, and their shift right and down, in
                half sides of the face; None for none.
        """
        zoom, right, down = self.chip
        place = torch.arange(self.chip_side, device=faces.device, dtype=torch.float32)
        across, along = (zoom * place + right)[None], (zoom * place + down)[None]  # (1, chip_side) in [-1, 1]
        if disturbed is not None:
            more, to_right, to_below = disturbed.split(1, dim=1)
            across, along = more * across + to_right, more * along + to_below
        side = faces.shape[-1]
        return _cubic(along, side)[:, None] @ faces @ _cubic(across, side)[:, None].transpose(2, 3)

    def read(self, faces: Tensor, disturbed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The network's embedding (B, K) of aligned faces (B, 3, side, side) in [-1, 1], and their sex and
        age (B, 2) as e spells them; arguments as in `chips`."""
        raise NotImplementedError

    @classmethod
    def is_map(cls, shapes: dict[str, tuple[int, ...]]) -> bool:
        """Tensors of these names and shapes are a map of this kind of space."""
        return shapes == cls.map_shapes

    @classmethod
    def of_map(
        cls, tensors: dict[str, Tensor], about: dict | None = None, reader: str | Path | None = None
    ) -> Self:
        """A space of what `map_tensors` and `about` were, with its network.

        Args:
            reader: the folder of its face reader, which a ReaderSpace alone has.
        Raises:
            CheckpointError: the network is not installed.
        """
        raise NotImplementedError

    def forward(self, faces: Tensor) -> Tensor:
        """float (B, 3, side, side) in [-1, 1] -> e (B, size)."""
        return self.encode(*self.read(faces))

    def encode(self, embedding: Tensor, attributes: Tensor) -> Tensor:
        components = (embedding - self.centre) @ self.basis / self.scale
        return torch.cat([components, attributes], dim=1)

    def target(self, e: Tensor) -> tuple[Tensor, Tensor]:
        """The embedding (B, K) and the sex and age (B, 2) that e (B, 64) calls for."""
        return self.centre + (e[:, :COMPONENTS] * self.scale) @ self.basis.t(), e[:, COMPONENTS:]

    def average(self) -> Tensor:
        """(size,), e of the average face: 0."""
        return self.chip.new_zeros(self.size)

    def classify(self, e: Tensor) -> Tensor | None:
        """The logits (B, classes) of the identities that the network was trained on, of e (B, size), with
        gradients for it; None where it has none."""
        return None

    def importance(self) -> Tensor:
        """(64,) weight of each element of e in a squared error: a component's is its variance in the
        embedding; sex and age count as an average component each."""
        variance = self.scale.square()
        return torch.cat([variance, variance.mean().expand(2)])

    def summary(self) -> dict:
        """Name, and how it was fitted, without the paths of the machine that fitted it."""
        about = {k: v for k, v in self.about.items() if k != "trained_on"}
        return {**about, "name": self.name}

    def map_tensors(self) -> dict[str, Tensor]:
        """Everything but the network, by name: what a checkpoint keeps."""
        return {name: getattr(self, name).detach().cpu().clone() for name in self.map_shapes}

    def with_map(self, tensors: dict[str, Tensor], about: dict | None) -> Self:
        """The space with what `map_tensors` and `about` were, without gradients for its own numbers."""
        self.load_state_dict(tensors, strict=False)
        self.about = about or {}
        return self.eval().requires_grad_(False)

    @torch.no_grad()
    def encode_faces(self, faces: Tensor, progress=None) -> Tensor:
        """e (N, size) of faces as stores hold them, on the space's device, a piece at a time.

        Args:
            faces: uint8 (N, side, side, 3), framed as those that the space was fitted on.
            progress: called with (done, total) after each piece.
        """
        parts = []
        for start in range(0, len(faces), self.piece):
            piece = to_unit(faces[start : start + self.piece].to(self.chip.device))
            parts.append(self(piece).cpu())
            if progress:
                progress(min(start + self.piece, len(faces)), len(faces))
        return torch.cat(parts) if parts else torch.zeros(0, self.size)


def _cubic(place: Tensor, side: int) -> Tensor:
    """(B, N) places in [-1, 1] -> (B, N, side) weights of the pixels there by cubic convolution (Keys 1981,
    a = -1/2); beyond the border the nearest pixels count."""
    at = ((place + 1) * side - 1) / 2
    away = (at.clamp(0, side - 1)[..., None] - torch.arange(side, device=place.device)).abs()
    near = (1.5 * away - 2.5) * away * away + 1
    far = ((-0.5 * away + 2.5) * away - 4) * away + 2
    weights = torch.where(away <= 1, near, torch.where(away < 2, far, torch.zeros_like(far)))
    return weights / weights.sum(dim=-1, keepdim=True)
