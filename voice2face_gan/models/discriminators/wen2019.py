"""Face trunk, discriminator and identity classifier of Wen, Raj and Singh, NeurIPS 2019, Table 1.

Shapes: B faces, N identities. Faces are float32 in [-1, 1] (see faces/pixels.py).
"""

from torch import Tensor, nn

from voice2face_gan.models.generators.wen2019 import Wen2019GeneratorConfig


class FaceTrunk(nn.Module):
    """Face to 64 numbers, shared by discriminator and identity classifier (Table 1, "face embedding").
    3.31 M parameters with 4 x 4 kernels.

    forward: (B, 3, 64, 64) in [-1, 1] -> (B, embedding), not normalised.
    """

    def __init__(self, config: Wen2019GeneratorConfig):
        super().__init__()
        channels = config.trunk_channels
        layers: list[nn.Module] = [nn.Conv2d(3, channels[0], 1), nn.LeakyReLU(0.2, inplace=True)]
        for before, after in zip(channels, channels[1:], strict=False):  # 64 -> 32 -> 16 -> 8 -> 4
            layers += [nn.Conv2d(before, after, config.kernel, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        layers += [nn.Conv2d(channels[-1], config.embedding, 4)]
        self.model = nn.Sequential(*layers)

    def forward(self, face: Tensor) -> Tensor:
        return self.model(face).flatten(1)


class Discriminator(nn.Module):
    """Real or generated, from the trunk's output: (B, embedding) -> (B,) logits."""

    def __init__(self, config: Wen2019GeneratorConfig):
        super().__init__()
        self.model = nn.Linear(config.embedding, 1)

    def forward(self, h: Tensor) -> Tensor:
        return self.model(h).squeeze(1)


class IdentityClassifier(nn.Module):
    """Whose face, from the trunk's output: (B, embedding) -> (B, identities) logits."""

    def __init__(self, config: Wen2019GeneratorConfig, identities: int):
        super().__init__()
        self.model = nn.Linear(config.embedding, identities)

    def forward(self, h: Tensor) -> Tensor:
        return self.model(h)
