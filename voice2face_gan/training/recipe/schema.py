"""Sections of a recipe: a frozen dataclass each, and `Recipe`, which holds them resolved."""

from dataclasses import asdict, dataclass, field

from voice2face_gan.models.conditioning import Controls
from voice2face_gan.models.registry import EncoderConfig, GeneratorConfig


@dataclass(frozen=True)
class ModelRecipe:
    """The networks: the tables [model.encoder], [model.generator] and [model.controls], as a checkpoint's
    config.json has them. A run that is given a trained voice encoder takes that one's table instead of the
    first."""

    encoder: EncoderConfig
    generator: GeneratorConfig
    controls: Controls = field(default_factory=Controls)

    def to_dict(self) -> dict[str, dict]:
        return {part.table: part.to_dict() for part in (self.encoder, self.generator, self.controls)}


@dataclass(frozen=True)
class DataRecipe:
    """Records and crops of a batch.

    Args:
        gender: "female", "male" or "all": whose records are used; `train --gender` overrides it.
        split: "train" (the store's training identities) or "all" (every identity, as the poster did).
        crop_frames: shortest and longest random crop of a voice, in frames of 10 ms; one length a batch.
        flip: mirror half of the real faces.
        hold_out_clip: leave out the last voice of each training identity that has two or more. Wen et al. ask
            their classifier who of the training people a face made from an unheard voice of theirs is
            (closed-set identity, section 4.2): without an unheard voice that cannot be asked. The poster
            trained on every clip.
    """

    gender: str = "all"
    split: str = "train"
    crop_frames: tuple[int, int] = (300, 800)
    flip: bool = True
    hold_out_clip: bool = True


@dataclass(frozen=True)
class EncoderRecipe:
    """The voice encoder's pretraining: speaker classification with cross-entropy (Wen et al., issue 9 of
    their repository says so; the paper does not), or with a space distillation of a teacher
    (training/stages/distillation.py). An encoder of the type "statistics" is fitted in closed form and needs
    none of it (training/stages/ridge_encoder.py).

    Args:
        iterations, batch: length of the stage.
        lr, betas, weight_decay: of AdamW; the rate falls to zero along half a cosine. With a space lr and
            betas are Adam's (training/stages/layerwise_distillation.py).
        crop_frames: shortest and longest random crop of a voice, in frames of 10 ms; one length a batch. With
            a space crops are of 1.6 s.
        augment: share of a batch's clips that are distorted: noise, babble, rooms, bands, codecs, gain, speed
            (audio/augment/policy.py), or what can be done to a log-mel where the store keeps no speech.
        augment_snr: lowest and highest signal-to-noise ratio of the noise, in dB.
        augment_speed: a distorted clip is at most so much faster or slower, as a part of 1.
        space: folder of a face space (`v2f-gan face-space`): the encoder learns to give its e, from a
            teacher and from the people who have both voices and faces. Empty for speaker classification.
        teacher: file of the teacher's weights; empty for those of the installed package resemblyzer; with a
            space.
        speeds: at which every clip is used, in order; between the outermost it is used as further speakers
            too (training/augmentation/speaker_perturbation.py); with a space.
    """

    iterations: int = 20_000
    batch: int = 64
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-4
    crop_frames: tuple[int, int] = (300, 800)
    augment: float = 0.0
    augment_snr: tuple[float, float] = (0.0, 20.0)
    augment_speed: float = 0.03
    space: str = ""
    teacher: str = ""
    speeds: tuple[float, ...] = (0.8, 0.9, 1.0, 1.11, 1.25)


@dataclass(frozen=True)
class GanRecipe:
    """The adversarial stage (Wen et al., Algorithm 1).

    Args:
        iterations, batch: length of the stage.
        lr, betas: of Adam, for generator, trunk, discriminator and classifier. With `train --init` the
            generator's rate is 0.1 times this (FINE_TUNE_RATE in training/stages/gan_base.py), but for what
            is distilled or calibrated; the others' is this. The voice encoder's rate is encoder.lr.
        d_lr_factor: learning rate of trunk, discriminator and classifier, as a part of the generator's.
        d_identity: weight of the identity loss in the discriminator's step, beside the adversarial one.
        g_adversarial, g_identity: weights of the two losses in the generator's step. The R3GAN stage has no
            discriminator where the first is 0.
        l1: weight of the mean absolute difference (of values in [-1, 1]) between the generated face and a
            real face of the voice's identity (SF2F, Bai et al. 2022, takes 10). Above 0 the real faces of a
            batch are of its voices' identities; Wen et al. draw them independently.
        lr_decay: share of the iterations, the last ones, over which the learning rate falls evenly to zero.
        ema_decay: decay of the average of the generator's weights per iteration; 0 keeps the last weights.
    """

    iterations: int = 50_000
    batch: int = 128
    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    d_lr_factor: float = 1.0
    d_identity: float = 1.0
    g_adversarial: float = 1.0
    g_identity: float = 1.0
    l1: float = 0.0
    lr_decay: float = 0.0
    ema_decay: float = 0.0


@dataclass(frozen=True)
class R3GANRecipe:
    """What the stages with a relativistic loss add to [gan] (training/stages/r3gan.py, appearance_model.py).

    Args:
        loss: "relativistic" (a generated face against the real one of the same pair) or "softplus" (each
            against zero, non-saturating).
        gamma, gamma_end: weight of the zero-centred gradient penalties R1 + R2 at the beginning and at the
            end, along half a cosine; 0 and 0 for none.
        penalty_share: share of each batch on which the penalties are computed, above 0 to 1.
        augment: probability of each kind of augmentation of what the discriminator sees (DiffAugment).
        embedding_loss: weight of the regression of the embedding from a generated face, 0 for none.
        same_identity: the real faces of a batch are of its voices' identities; projection needs it.
    """

    loss: str = "relativistic"
    gamma: float = 2.0
    gamma_end: float = 0.2
    penalty_share: float = 0.25
    augment: float = 0.3
    embedding_loss: float = 1.0
    same_identity: bool = True


@dataclass(frozen=True)
class FaceEmbeddingRecipe:
    """Training on a face embedding space (training/stages/face_embedding.py), of any generator.

    Args:
        space: folder of a face space (`v2f-gan face-space`); "checkpoint" for the one that the voice
            encoder's checkpoint keeps; or "classifier" for that of the face classifier that ships, which the
            stage of the encoder "statistics" fits: every face is a training example with its own e, and the
            face reader reads e back from generated faces. Empty for none.
        identity_loss: weight of that reading (identity, or perceptual, loss).
        identity_loss_from: share of the iterations without that loss; it then rises over as many again.
        perceptual_loss: weight of the difference of the classifier's early maps between a generated face and
            the real one; it begins with the identity loss.
        l1_left: share of gan.l1 that is left once these losses count in full.
        simulated_l1: how much faces of simulated voices count in gan.l1 and perceptual_loss, 1 as much as
            those of their own e.
        simulated_voices: share of a batch whose e is what a voice would have given.
        strength_range: lowest and highest factor of that e.
        fully_visible: least share of a batch that are faces wholly within their images. Of the others what
            lies beyond the images' edges is left out.
    """

    space: str = ""
    identity_loss: float = 2.0
    identity_loss_from: float = 0.1
    perceptual_loss: float = 0.0
    l1_left: float = 0.25
    simulated_l1: float = 0.0
    simulated_voices: float = 0.5
    strength_range: tuple[float, float] = (0.5, 3.0)
    fully_visible: float = 0.0


@dataclass(frozen=True)
class FaceDecoderRecipe:
    """Weights of the face decoder's losses (training/stages/face_decoder.py; Cole et al. 2017, whose own
    numbers are not known). Kacper-Pietkun's code weighs landmarks, texture in [0, 1] and embedding 1, 100 and
    100; texture is in [-1, 1] here, and so half.

    Args:
        texture_loss: of the mean absolute error of the texture in the mean shape, values in [-1, 1].
        landmark_loss: of the mean squared error of the landmarks, in pixels of an image of 224.
        embedding_loss: of 1 - cosine between the space's reading of the rendered image and the one that e
            calls for, each less the average face's.
        embedding_share: part of a batch whose images are drawn and read, above 0.
    """

    texture_loss: float = 50.0
    landmark_loss: float = 1.0
    embedding_loss: float = 10.0
    embedding_share: float = 1.0


@dataclass(frozen=True)
class AppearanceModelRecipe:
    """What the stages of the appearance model add to [gan] and [r3gan] (training/stages/appearance_model.py,
    detail.py, calibration.py).

    Args:
        part: what the iterations train: "refiner", against a discriminator; "detail", the diffusion
            (training/stages/detail.py), which needs model.generator.detail_channels; "distillation", the
            same in one or two evaluations (model.generator.detail_steps), from a trained one; or
            "calibration", the face decoder's stem, so that a trained model's faces show what e says
            (training/stages/calibration.py).
        decoder: checkpoint of the recipe face-decoder, on the same face space: what e says of a face.
        flow_iterations: of the flow, before the first iteration, of 256 faces each.
        feature_matching: weight of the difference of the discriminator's maps between a refined face and the
            real one.
        coarse_loss: of the absolute difference of averaged pixels between a refined face and the coarse one,
            where coefficients are drawn.
        embedding_loss: of 1 - cosine between the space's reading of the refined image and the one that e
            calls for, each less the average face's; where a model is calibrated, each less its mean.
        embedding_share: part of a batch whose images are read, above 0.
        attribute_loss: of the squared difference of the sex and age that the space reads in an image and
            those of e, where the model is calibrated; image_loss: of the squared change of its pixels; and
            fine_loss: of that of what is finer than training/stages/calibration.py says.
        window: side in pixels, a multiple of 32, of the part of the images that an iteration judges
            (training/augmentation/windows.py); the whole image where it is as large.
        portraits: share of the faces that a diffusion learns from: those that are most like portraits
            (training/fits/portraits.py).
        head_weight: how many times as much as a background a head with its hair counts for a diffusion.
        teacher_steps: evaluations of the trained diffusion for one of the distilled one.
        teacher_guidance: of the trained one, as model.generator.detail_guidance.
    """

    part: str = "refiner"
    decoder: str = "speech2face"
    flow_iterations: int = 3000
    feature_matching: float = 1.0
    coarse_loss: float = 4.0
    embedding_loss: float = 1.0
    embedding_share: float = 0.25
    attribute_loss: float = 0.05
    image_loss: float = 0.3
    fine_loss: float = 20.0
    window: int = 64
    portraits: float = 1.0
    head_weight: float = 1.0
    teacher_steps: int = 3
    teacher_guidance: float = 2.0


PARTS = ("refiner", "detail", "distillation", "calibration")
"""What the stages of an appearance model train."""

PAIRINGS = ("all-to-all", "one-to-one", "all-to-one", "all-to-mean")
"""Which face a clip is trained with (data/batches/pairing.py)."""


@dataclass(frozen=True)
class Speech2FaceRecipe:
    """Training a voice encoder on pairs of voices and faces beside a trained face decoder, by equation 3 of
    Oh et al. 2019 (training/stages/speech2face.py). Iterations, batch, learning rate, crops and augmentation
    are those of [encoder].

    Args:
        pairing: which face a clip is trained with, "all-to-all", "one-to-one", "all-to-one" or "all-to-mean"
            (data/batches/pairing.py); empty for no such training.
        layer_loss: weight of the L1 distance of what the decoder's first layer gives.
        feature_loss: of the squared distance of e, each made of length 1.
        classes_loss, temperature: of the distillation of the face reader's classes, and its temperature; no
            such term where the face space's reader has no classes.
        lr_decay, lr_decay_every: the learning rate is encoder.lr x lr_decay ^ (iteration / lr_decay_every).
        pretrained: folder, or name on the Hugging Face hub, of a trained AST that the encoder begins with;
            empty for random weights.
        head_iterations: so many first ones train an AST's head alone.
        head_lr: learning rate in these.
    """

    pairing: str = ""
    layer_loss: float = 1.0
    feature_loss: float = 0.025
    classes_loss: float = 200.0
    temperature: float = 2.0
    lr_decay: float = 0.95
    lr_decay_every: int = 10_000
    pretrained: str = ""
    head_iterations: int = 0
    head_lr: float = 1e-3


@dataclass(frozen=True)
class RunRecipe:
    """How a run is done; changes no mathematics.

    Args:
        precision: "bf16" (autocast), "fp32", or "auto": bf16 where the processor multiplies it natively.
        compile: torch.compile the adversarial stage's nets; needs a C++ compiler on a CPU, Triton on a GPU.
        checkpoint_every, grid_every, log_every: iterations.
        keep: checkpoints kept, the newest ones; the best is kept besides.
        evaluate_every: iterations of the last stage between evaluations on validation people; 0 for none.
        best: the figure that says which checkpoint is the best (training/run/tracked_metrics.py).
        tensorboard: "auto" (events are written where TensorBoard is installed), "on" or "off"; true and false
            mean the same as the last two.
    """

    precision: str = "auto"
    compile: bool = False
    checkpoint_every: int = 250
    grid_every: int = 250
    log_every: int = 10
    keep: int = 2
    evaluate_every: int = 0
    best: str = "fid_trunk"
    tensorboard: str = "auto"


ENCODER, GAN = "encoder", "gan"
STAGES = ((ENCODER, GAN), (ENCODER,))
"""What `stages` of a recipe may be: a voice encoder and a generator on it, or a voice encoder alone."""

ENCODER_ALONE = {"run.evaluate_every": 500, "run.best": "eer_noisy"}
"""Defaults that differ where a recipe trains a voice encoder alone."""


@dataclass(frozen=True)
class Recipe:
    """A resolved recipe.

    Attributes:
        model: the networks' settings.
        stages: in their order, one of STAGES. Of ("encoder", "gan") the first is left out where a trained
            voice encoder is given.
        idle: keys without an effect in this recipe, and why; they have the values that the stages expect.
    """

    name: str
    model: ModelRecipe
    stages: tuple[str, ...] = STAGES[0]
    data: DataRecipe = field(default_factory=DataRecipe)
    encoder: EncoderRecipe = field(default_factory=EncoderRecipe)
    gan: GanRecipe = field(default_factory=GanRecipe)
    r3gan: R3GANRecipe = field(default_factory=R3GANRecipe)
    face_embedding: FaceEmbeddingRecipe = field(default_factory=FaceEmbeddingRecipe)
    face_decoder: FaceDecoderRecipe = field(default_factory=FaceDecoderRecipe)
    appearance_model: AppearanceModelRecipe = field(default_factory=AppearanceModelRecipe)
    speech2face: Speech2FaceRecipe = field(default_factory=Speech2FaceRecipe)
    run: RunRecipe = field(default_factory=RunRecipe)
    idle: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def encoder_alone(self) -> bool:
        """Trains no generator."""
        return self.stages == (ENCODER,)

    @property
    def pairs(self) -> bool:
        """Trains a voice encoder on pairs of voices and faces, beside a face decoder that is given."""
        return bool(self.speech2face.pairing)

    def to_dict(self) -> dict:
        """Name and every key that has an effect, in nested plain settings."""
        about = {**asdict(self), "model": self.model.to_dict()}
        for key in about.pop("idle"):
            *sections, name = key.split(".")
            part = about
            for section in sections:
                part = part[section]
            part.pop(name, None)
        about["model"] = {k: v for k, v in about["model"].items() if v != {}}
        return {k: v for k, v in about.items() if v != {}}


SECTIONS = {
    "data": DataRecipe,
    "encoder": EncoderRecipe,
    "gan": GanRecipe,
    "r3gan": R3GANRecipe,
    "face_embedding": FaceEmbeddingRecipe,
    "face_decoder": FaceDecoderRecipe,
    "appearance_model": AppearanceModelRecipe,
    "speech2face": Speech2FaceRecipe,
    "run": RunRecipe,
}
"""The sections with keys of their own, besides `model`."""
