"""The generator of Wen, Raj and Singh, "Face Reconstruction from Voice using Generative Adversarial
Networks", NeurIPS 2019, Table 1, and the variants of it in use.

    recipe          kernels  generator
    wen2019         4 x 4    no norm, linear output    (the released settings)
    wen2019-paper   3 x 3    no norm, linear output    (the paper's tables)
    poster2023-*    4 x 4    BatchNorm2d, tanh output  (Ain Shams poster, 2023)

Shapes: B clips. Faces are float32 in [-1, 1] (see faces/pixels.py).
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from voice2face_gan.models.settings import GeneratorSettings


@dataclass(frozen=True)
class Wen2019GeneratorConfig(GeneratorSettings):
    """Dimensions of the generator and its discriminator; the table `generator` of a checkpoint's config.json.

    Args:
        embedding: size of the voice embedding e, and of the face trunk's output.
        channels: output channels of the generator's five up-convolutions.
        trunk_channels: output channels of the face trunk's first five convolutions
            (models/discriminators/wen2019.py).
        kernel: side of the stride-2 kernels of generator and trunk: 4 (released) or 3 (paper).
        norm: "none" or "batch" (BatchNorm2d after each up-convolution).
        output: "linear" (2019) or "tanh".
        face_scale: how much larger its faces are than the template of faces/align.py lays them, as those were
            that it learned from.
    """

    type: ClassVar[str] = "wen2019"
    side: ClassVar[int] = 64  # of its faces, in pixels
    z_dim: ClassVar[int] = 0  # it takes no noise
    outside_weights: ClassVar[tuple[str, ...]] = ("trunk_channels", "face_scale")
    """Settings that make no difference to the generator's weights."""

    embedding: int = 64
    channels: tuple[int, ...] = (1024, 512, 256, 128, 64)
    trunk_channels: tuple[int, ...] = (32, 64, 128, 256, 512)
    kernel: int = 4
    norm: str = "none"
    output: str = "linear"
    face_scale: float = 1.0

    def __post_init__(self) -> None:
        self.make_tuples("channels", "trunk_channels")
        smallest = min((self.embedding, *self.channels, *self.trunk_channels))
        self.check(
            {
                "kernel must be 3 or 4": self.kernel in (3, 4),
                'norm must be "none" or "batch"': self.norm in ("none", "batch"),
                'output must be "linear" or "tanh"': self.output in ("linear", "tanh"),
                "channels must be five numbers (64 x 64 faces)": len(self.channels) == 5,
                "trunk_channels must be five numbers (64 x 64 faces)": len(self.trunk_channels) == 5,
                "face_scale must be above 0": self.face_scale > 0,
                "embedding and all channels must be 1 or more": smallest >= 1,
            }
        )


class Wen2019Generator(nn.Module):
    """Voice embedding to face (Table 1, "generator"): five transposed convolutions 1 -> 4 -> ... -> 64,
    then a 1 x 1 one to RGB. 12.19 M parameters with 4 x 4 kernels, 7.32 M with 3 x 3.

    forward: (B, embedding) -> (B, 3, 64, 64), aimed at [-1, 1]; without tanh values may lie outside.
    """

    def __init__(self, config: Wen2019GeneratorConfig):
        super().__init__()
        kernel, channels = config.kernel, config.channels
        layers: list[nn.Module] = [nn.ConvTranspose2d(config.embedding, channels[0], 4)]  # 1 -> 4
        for before, after in zip(channels, channels[1:], strict=False):
            layers += self._between(before, config)
            layers += [nn.ConvTranspose2d(before, after, kernel, 2, 1, output_padding=4 - kernel)]  # x 2
        layers += self._between(channels[-1], config)
        layers += [nn.ConvTranspose2d(channels[-1], 3, 1)]
        if config.output == "tanh":
            layers += [nn.Tanh()]
        self.model = nn.Sequential(*layers)

    @staticmethod
    def _between(channels: int, config: Wen2019GeneratorConfig) -> list[nn.Module]:
        norm = [nn.BatchNorm2d(channels)] if config.norm == "batch" else []
        return [*norm, nn.ReLU(inplace=True)]

    def forward(self, e: Tensor) -> Tensor:
        return self.model(e[:, :, None, None])
