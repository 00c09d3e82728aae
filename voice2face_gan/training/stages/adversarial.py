"""What the GAN stages with a relativistic loss and gradient penalties share: section [r3gan] of a recipe."""

from collections.abc import Callable

import torch
from torch import Tensor

from voice2face_gan.training.augmentation.diff_augment import augment
from voice2face_gan.training.stages.gan_base import GanStage
from voice2face_gan.training.stages.losses import cosine_schedule, r1_r2_penalty


class AdversarialStage(GanStage):
    """A generator against a discriminator that sees augmented images; arguments and errors as in GanStage."""

    def augmented(self, faces: Tensor, drawn: Tensor) -> Tensor:
        """Faces (B, 3, side, side) as the discriminator sees them; `drawn` (B, NUMBERS) decides how."""
        faces = augment(faces, self.recipe.r3gan.augment, drawn)
        return faces.contiguous(memory_format=torch.channels_last)

    def gamma(self, iteration: int) -> float:
        """Weight of the penalties: along half a cosine from gamma to gamma_end."""
        r3gan = self.recipe.r3gan
        return cosine_schedule(r3gan.gamma, r3gan.gamma_end, iteration / max(self.iterations, 1))

    def backward_penalty(
        self, images: Tensor, score: Callable[[Tensor, int], Tensor], gamma: float
    ) -> Tensor:
        """Adds the gradient of gamma / 2 (R1 + R2) of a share of the batch's pairs; returns their R1 + R2.

        A share in every iteration rather than all in every k-th (lazy regularisation): the cost is the same,
        and Adam with a short memory (small betas) sees no jumps.

        Args:
            images: the augmented real, then generated faces.
            score: called with images of the first pairs, real then generated ones, and how many pairs; their
                scores.
        """
        size, whole = len(images) // 2, self.settings.batch
        # The first pairs of the whole batch, at least one; which are first is chance, because batches are
        # shuffled. This process's part keeps their order.
        chosen = max(1, round(self.recipe.r3gan.penalty_share * whole))
        count = len(range(chosen)[self.processes.shard(whole)])
        if not count:  # the other losses have given every weight that this would move a gradient
            return images.new_zeros(())

        def of_pairs(faces: Tensor) -> Tensor:
            with self.autocast():
                return score(faces, count)

        penalty = r1_r2_penalty(of_pairs, torch.cat([images[:count], images[size : size + count]]))
        # So that the mean over the processes is that over the chosen.
        penalty = penalty * (count * self.processes.size / chosen)
        (gamma / 2 * penalty).backward()
        return penalty.detach()
