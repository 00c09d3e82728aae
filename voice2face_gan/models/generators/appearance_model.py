"""An active appearance model of faces, with a voice's embedding among its causes.

    e            -> face decoder            landmarks and texture (face_decoder.py)
    (e, noise)   -> flow -> coefficients    of what e leaves open (coefficient_flow.py)
    both         -> landmarks, texture      + principal components times coefficients
                 -> lips closed, eyes open  (expression.py)
                 -> a moustache or none, no glasses (attributes.py); both sides alike
                 -> brows, lips, no lines along the nose, no grey or orange skin (skin.py)
                 -> warp                    the texture drawn in the shape of the landmarks
    (coarse image, e, noise) -> diffusion   hair, skin and background (detail.py, hair_contrast.py), where
                                            there is such a net
                 -> refiner                 what is finer than textures are (refiner.py)
                 -> ears                    both, or none (ears.py)

Cootes, Edwards and Taylor, "Active Appearance Models", PAMI 2001: principal components of landmarks, and of
textures in the mean shape. Geometry and texture apart give sharp eyes and mouths. The face decoder comes
trained; components and flow are fitted (training/fits/appearance_model.py), then the refiner is trained
adversarially (training/stages/appearance_model.py).

Noise z = 0 does not mean the mean face: each e has noise of its own, a fixed random projection of its
direction, to which z adds. So two voices differ in hair and light, one voice keeps them from clip to clip,
and voices that are morphed pass over smoothly.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voice2face_gan.faces.align import zoomed
from voice2face_gan.faces.mean_shape import MEAN_SHAPE, MIRROR, POINTS, SHAPE_STD
from voice2face_gan.models.generators.appearance_model_config import AppearanceModelConfig
from voice2face_gan.models.generators.attributes import Attributes
from voice2face_gan.models.generators.coefficient_flow import CoefficientFlow
from voice2face_gan.models.generators.detail import Detail
from voice2face_gan.models.generators.ears import Ears
from voice2face_gan.models.generators.expression import Expression
from voice2face_gan.models.generators.face_decoder import Decoded, FaceDecoder
from voice2face_gan.models.generators.hair_contrast import HairContrast
from voice2face_gan.models.generators.refiner import Refiner
from voice2face_gan.models.generators.regions import (
    BROWS,
    BROWS_EDGE,
    FEATURES_CENTRE,
    FEATURES_EDGE,
    FEATURES_RADII,
    JAW,
    JAW_EDGE,
    below,
    ellipse,
    hair_mask,
    head_mask,
    smooth_blur,
)
from voice2face_gan.models.generators.skin import Skin
from voice2face_gan.models.generators.warp import Warp


class AppearanceModel(nn.Module):
    """(e, z) to face.

    forward: (B, embedding) and, for other noise than e's own, (B, z_dim) -> the image (B, 3, side, side),
    aimed at [-1, 1].

    Attributes:
        decoder: the face decoder.
        shape: shape coefficients -> displacements of the landmarks, (B, 136) in the decoder's spread.
        texture: texture coefficients -> what they add to the texture, (B, 3 texture_side^2).
        expression: what changes as lips and lids open.
        attributes: what changes with a moustache and glasses.
        skin: its colour, brows, lips, and lines along the nose.
        flow: the coefficients' distribution.
        diffusion: of detail, or None. refiner: see the module.
        detailed: (texture_side, texture_side), how much of the detail each pixel gets.
        detail_noise: likewise, standard deviation of the noise that it is drawn from.
        hair: likewise, 1 where there may be hair, 0 elsewhere.
        alike: (texture_side, 1), how much of that noise is alike on both sides.
        hair_contrast: what is added to it.
        ears: draws them anew.
        refined: (side, side), how much of the refiner's work each pixel gets in training, 0 to 1.
        share: (side, side), how much it gets of it afterwards.
        head: (side, side), 1 on a head with its hair. below: (side, 1), 1 below the brows.
        blur: (side, side), of a row or column of pixels.
        noisy: (z_dim,), 1 for coefficients that get noise, 0 for the others.
        projection: (z_dim, embedding), e's direction to its own noise.
    """

    def __init__(self, config: AppearanceModelConfig):
        super().__init__()
        self.config, self.side = config, config.side
        e, shapes, textures = config.embedding, config.shape_components, config.texture_components
        self.decoder = FaceDecoder(config.decoder)
        self.shape = nn.Linear(shapes, 2 * POINTS)
        self.texture = nn.Linear(textures, 3 * config.texture_side**2)
        for layer in (self.shape, self.texture):  # nothing, until they are fitted
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.expression = Expression(3 * config.texture_side**2)
        self.attributes = Attributes(config.texture_side, config.face_scale)
        self.skin = Skin(config.texture_side, config.face_scale)
        self.flow = CoefficientFlow(e, config.z_dim, config.flow_width, config.flow_blocks, config.flow_steps)
        self.diffusion = None
        if config.detail_channels:
            self.diffusion = Detail(config.detail_channels, config.texture_side, e, config.z_dim)
        self.hair_contrast = HairContrast(config.texture_side, config.face_scale)
        self.ears = Ears(self.side, config.face_scale)
        self.refiner = Refiner(config.channels, e + config.z_dim if config.film else 0)
        self.register_buffer(
            "projection", torch.empty(config.z_dim, e).normal_()
        )  # randn on meta imports SymPy
        mean = zoomed(MEAN_SHAPE, config.face_scale)
        self.warp = Warp(self.side, mean=mean)
        with torch.device("cpu"):  # also where weights are not yet: checkpoints are opened on the device meta
            head = head_mask(self.side, config.face_scale)
            features, face = (
                ellipse(side, config.face_scale, FEATURES_CENTRE, FEATURES_RADII, FEATURES_EDGE)
                for side in (self.side, config.texture_side)
            )
            detailed = config.detail + (config.face_detail - config.detail) * face
            lower = below(self.side, config.face_scale, BROWS, BROWS_EDGE)
            blur = smooth_blur(self.side, config.coarse_blur)
            hair = hair_mask(config.texture_side, config.face_scale)
            detail_noise = config.background_noise + (config.detail_noise - config.background_noise) * hair
            alike = config.symmetry * below(config.texture_side, config.face_scale, JAW, JAW_EDGE)
            noisy = (torch.arange(config.z_dim) < shapes + config.texture_noise).float()
        self.register_buffer("head", head, persistent=False)
        self.register_buffer("below", lower, persistent=False)
        self.register_buffer("blur", blur, persistent=False)
        self.register_buffer("hair", hair, persistent=False)
        refined = head + config.background_refinement * (1 - head)
        share = config.hair_refinement + (config.refinement - config.hair_refinement) * features
        self.register_buffer("detailed", detailed, persistent=False)
        self.register_buffer("detail_noise", detail_noise, persistent=False)
        self.register_buffer("alike", alike, persistent=False)
        self.register_buffer("refined", refined, persistent=False)
        self.register_buffer("share", share * refined, persistent=False)
        self.register_buffer("noisy", noisy, persistent=False)
        self.spread = SHAPE_STD * config.face_scale * self.side  # of a landmark, in pixels

    def forward(self, e: Tensor, z: Tensor | None = None) -> Tensor:
        noise = self.noise(e, z)
        coefficients = self.flow.draw(e, self.truncated(noise))
        face = self.decoded(e, coefficients)
        image = self.refine(e, coefficients, self.with_detail(e, face.image, noise))
        return self.ears.whole(image, face.landmarks) if self.config.ears == "whole" else image

    def noise(self, e: Tensor, z: Tensor | None = None) -> Tensor:
        """Noise (B, z_dim) of each e (B, embedding), and of z (B, z_dim) beside it."""
        # Half as long as faces' own e: a shorter one has less noise, 0 has none.
        least = e.shape[1] ** 0.5 / 2
        own = e / e.norm(dim=1, keepdim=True).clamp(min=least) @ self.projection.t()
        own = self.config.own_noise * own
        if z is not None:
            # As large as z where that is normal, and e's own where it is 0.
            own = (own + z) / (1 + self.config.own_noise**2 * z.square().mean(dim=1, keepdim=True)).sqrt()
        return own

    def truncated(self, noise: Tensor) -> Tensor:
        """Of normal noise (B, z_dim) what coefficients are drawn with."""
        return self.config.truncation * self.noisy * noise

    def draw(self, e: Tensor, z: Tensor | None = None) -> Tensor:
        """Coefficients (B, z_dim) of e (B, embedding) and z (B, z_dim)."""
        return self.flow.draw(e, self.truncated(self.noise(e, z)))

    def decoded(self, e: Tensor, coefficients: Tensor, keep: Tensor | None = None) -> Decoded:
        """The coarse face of e (B, embedding) and coefficients (B, z_dim); its texture has texture_side
        pixels a side.

        Args:
            keep: (B,), 1 for faces that keep expression, attributes, both sides and skin whatever the config
                says.
        """
        kept = torch.zeros_like(e[:, 0]) if keep is None else keep.to(e)
        even = self.config.skin == "even"
        if even:  # the average face is drawn beside them
            e, coefficients = (F.pad(rows, (0, 0, 0, 1)) for rows in (e, coefficients))
            kept = F.pad(kept, (0, 1))
        sizes = [self.config.shape_components, self.config.texture_components]
        shapes, textures = coefficients.split(sizes, dim=1)
        displacement, texture = self.said(e)
        displacement = displacement + self.shape(shapes)
        texture = texture + self.texture(textures)
        if self.config.expression == "neutral":
            displacement, texture = self.expression.neutral(displacement, texture, kept)
        settled = self.config.facial_hair == "whole", self.config.glasses == "none"
        if any(settled):
            texture = self.attributes.whole(texture, *settled, kept)
        small = self.config.texture_side
        points, texture = displacement.unflatten(1, (POINTS, 2)), texture.unflatten(1, (3, small, small))
        mirrored = points[:, MIRROR] * points.new_tensor([-1.0, 1.0])
        share = self.config.symmetry / 2 * (1 - kept[:, None, None])
        landmarks = self.warp.mean + self.spread * torch.lerp(points, mirrored, share)
        texture = torch.lerp(texture, texture.flip(3), share[..., None])
        if even:
            landmarks, texture, average = landmarks[:-1], texture[:-1], texture[-1:]
            texture = torch.lerp(self.skin(texture, average), texture, kept[:-1, None, None, None])
        whole = texture
        if small != self.side:
            whole = F.interpolate(texture, (self.side, self.side), mode="bicubic", align_corners=False)
        return Decoded(landmarks, texture, self.warp.to_image(whole, landmarks))

    def said(self, e: Tensor) -> tuple[Tensor, Tensor]:
        """What e (B, embedding) says: displacements of the landmarks from the mean shape (B, 136), in their
        spread, and the texture (B, 3 texture_side^2)."""
        stem = self.decoder.stem(e)
        return self.decoder.displacement(stem), self.decoder.texture(stem).flatten(1)

    def small(self, images: Tensor) -> Tensor:
        """Images (B, channels, side, side) at the texture's side."""
        return F.avg_pool2d(images, self.side // self.config.texture_side)

    def with_detail(self, e: Tensor, coarse: Tensor, noise: Tensor) -> Tensor:
        """Coarse images (B, 3, side, side) of e (B, embedding) with detail that noise (B, z_dim) decides."""
        if self.diffusion is None:
            return coarse
        own, coarse = self.config, self.blurred(coarse)
        guidance = self.guidance(own.detail_guidance)
        how = own.detail_steps, guidance, own.detail_smallest, self.detailed
        small = self.small(coarse)
        detail = self.diffusion.draw(small, e, self.detail_start(noise, small), *how)
        return coarse + F.interpolate(detail, coarse.shape[-2:], mode="bicubic", align_corners=False)

    def guidance(self, most: float) -> Tensor | float:
        """That of each pixel (texture_side, texture_side): as given for hair, 1 for face, ears, neck
        and background, which more gives edges that no photograph has."""
        return 1.0 if most == 1 else 1 + (most - 1) * self.hair

    def blurred(self, coarse: Tensor) -> Tensor:
        """Coarse images (B, 3, side, side), blurred above the brows."""
        if self.config.coarse_blur == 1:
            return coarse
        return torch.lerp(self.blur @ coarse @ self.blur.t(), coarse, self.below)

    def detail_start(self, noise: Tensor, coarse: Tensor) -> Tensor:
        """The noise (B, 3, texture_side, texture_side) that the detail of coarse images, of this shape, is
        drawn from, of noise (B, z_dim)."""
        start = self.diffusion.noise(noise)
        start = self.detail_noise * torch.lerp(start, (start + start.flip(3)) / 2**0.5, self.alike)
        start = torch.lerp(start.mean(dim=1, keepdim=True), start, self.config.colour_noise)
        return start + self.config.hair_contrast * self.hair_contrast(coarse)

    def refine(
        self, e: Tensor, coefficients: Tensor, coarse: Tensor, refined: Tensor | None = None
    ) -> Tensor:
        """The refined image (B, 3, side, side) of a coarse one; the coarse one where `refined` is 0.

        Args:
            refined: how much of the refiner's work each pixel gets; default `share`.
        """
        fine = self.refiner(coarse, torch.cat([e, coefficients], dim=1))
        return torch.lerp(coarse, fine, self.share if refined is None else refined)
