"""`v2f-gan train`: from a data set to a checkpoint."""

import contextlib

import click

from voice2face_gan.cli._console import SEED, NumberRange, json_option, open_data, say
from voice2face_gan.cli._train_progress import Show, describe, finish
from voice2face_gan.errors import CheckpointError, TrainingError

DEFAULT = "default"  # the checkpoint whose voice encoder is kept
FIRST = "voice-to-face"  # the recipe that needs no extra, and no voice encoder
OF_FACES = "r3gan-face-embedding"  # of a voice encoder with a face embedding space
OF_LANDMARKS = "face-decoder"  # the same on stores that keep the landmarks of their faces
OF_HEADS = "appearance-model"  # the same at the side of the shipped face decoder, on its voice encoder
SIDE = 128  # of the shipped face decoder


@click.command()
@click.option(
    "--data",
    default="synthetic",
    show_default=True,
    help="A store, a raw data set, several with commas, or synthetic[:SPEAKERS].",
)
@click.option(
    "--gender", type=click.Choice(["female", "male", "all"]), help="Train on these only. [default: all]"
)
@click.option(
    "--recipe",
    help="Recipe name or TOML file. [default: on the default model's voice encoder, appearance-model (what "
    "the default is) for stores of 128 pixels that keep landmarks, face-decoder for others that do, "
    "r3gan-face-embedding for the rest; with an --encoder face-decoder or r3gan-face-embedding, r3gan if it "
    "keeps no face embedding space; on the synthetic world, and without the extra 'faces', voice-to-face]",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key: gan.batch=64, gan.lr=1e-4.",
)
@click.option("--iterations", type=click.IntRange(1), metavar="N", help="At most N iterations of each stage.")
@click.option(
    "--minutes",
    type=NumberRange(0, min_open=True),
    help="Time limit: the schedule is fitted to it; "
    "of recipes without gan.lr_decay, stop and save after so long.",
)
@click.option("-o", "--out", "root", default="runs", show_default=True, help="Folder of run folders.")
@click.option("--encoder", metavar="CKPT", help="A trained voice encoder, instead of training one.")
@click.option(
    "--init",
    metavar="CKPT",
    help="Fine-tune the nets of a checkpoint, a run or 'default', with its recipe unless --recipe is given; "
    "the generator learns at 0.1 times gan.lr, but what the recipe adds to it.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, ...")
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option(
    "--resume",
    is_flag=False,
    flag_value="newest",
    metavar="[RUN]",
    help="Go on with a run: its folder, or alone for the newest below --out.",
)
@json_option
def train(
    data, gender, recipe, overrides, iterations, minutes, root, encoder, init, device, seed, resume, as_json
):
    """Train a voice encoder, then a generator on it; or, by some recipes, the encoder alone.

    \b
      v2f-gan train                                     the synthetic world, offline
      v2f-gan train --gender female --minutes 8
      v2f-gan train --data STORE                        your own data, on the default model's voice encoder
      v2f-gan train --data STORE --init default         your own data, from the default model
      v2f-gan train --data STORE --recipe wen2019
      v2f-gan train --resume                            go on with the newest run
      torchrun --nproc_per_node=2 -m voice2face_gan train --data STORE     on two GPUs

    \b
      v2f-gan prepare voices RECORDINGS -o voices.store --keep-speech
      v2f-gan train --recipe speaker-encoder --data voices.store           a voice encoder alone
      v2f-gan train --data STORE --encoder runs/00000-speaker-encoder-all-b64

    An encoder alone learns from distorted speech (noise, rooms, codecs), of a store of log-mels alone from
    distorted log-mels. Every run.evaluate_every iterations its equal error rate is measured on pairs of clips
    of validation speakers, as they are and distorted.

    Ctrl-C saves; --resume goes on where it stopped.
    """
    from voice2face_gan.training.engine.distributed import started_processes
    from voice2face_gan.training.engine.train import train as train_run

    here = started_processes(device)
    with here.error_boundary():
        if resume is not None:
            _check_fixed()
            run, store = _earlier_run(resume, root, here)
            limit = iterations
        else:
            settings = {"gender": gender, "seed": seed, "iterations": iterations}
            run, store = _new_run(data, recipe, overrides, root, encoder, init, settings, here)
            limit = None
        evaluate = _evaluation(run, store, here)
        if here.is_main:
            describe(run, store, here)
        with Show() if here.is_main else contextlib.nullcontext() as reporter:
            outcome = train_run(run, store, here.device, reporter, minutes, limit, evaluate, here)
        if here.is_main:
            finish(outcome, run, as_json)
    if outcome.reason == "interrupted":
        raise SystemExit(130)


def _check_fixed() -> None:
    """Refuses, beside --resume, what a run keeps as it was started with."""
    context = click.get_current_context()
    for name in ("data", "gender", "recipe", "overrides", "encoder", "init", "seed"):
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            option = "set" if name == "overrides" else name
            raise TrainingError(
                f"--{option} cannot be changed with --resume: a run keeps what it was started with."
            )


def _earlier_run(resume, root, here):
    """The run to go on with, and its store."""
    from voice2face_gan.training.run.folder import Run

    folder = here.on_main(lambda: (Run.newest(root) if resume == "newest" else Run.open(resume)).folder)
    run = here.on_all_ranks(lambda: Run.open(folder))
    given = run.settings.get("encoder") or run.settings.get("init")
    return run, _open_once(run.settings["data"], run.recipe, given, here)


def _new_run(data, recipe, overrides, root, encoder, init, settings, here):
    """The run folder and its store, made only once everything given has been found good."""
    from pathlib import Path

    from voice2face_gan.data.open import source_names
    from voice2face_gan.data.synthetic import is_synthetic
    from voice2face_gan.models.checkpoint import find_checkpoint
    from voice2face_gan.models.registry import takes_voices
    from voice2face_gan.training.engine.train import check_shares
    from voice2face_gan.training.engine.warm_start import check_given, decodes_alone
    from voice2face_gan.training.recipe.keys import check_encoder
    from voice2face_gan.training.recipe.recipe import load_recipe
    from voice2face_gan.training.run.folder import Run

    if init is not None and encoder is not None:
        raise TrainingError("--init brings a voice encoder of its own; give either --init or --encoder.")
    gender = settings["gender"]
    override = (*overrides, *([f'data.gender="{gender}"'] if gender else ()))
    if init is not None and recipe is None:
        resolved = _recipe_of(init, override)
    else:
        if recipe is None:
            recipe, encoder, sides = _default_recipe(data, encoder, here)
            override = (*sides, *override)
        resolved = load_recipe(recipe, override)
        if decodes_alone(resolved, encoder, init):
            resolved = load_recipe(recipe, (*override, "model.encoder.type='none'"))
    brings_encoder = init and not resolved.encoder_alone and takes_voices(resolved.model.encoder)
    check_encoder(resolved, given=bool(encoder or brings_encoder))
    given = {"encoder": encoder, "init": init}
    settings = {
        "data": ",".join(
            n if is_synthetic(n) else str(Path(n).expanduser().resolve()) for n in source_names(data)
        ),
        **settings,
        "gender": resolved.data.gender,
        **{k: None if v is None else str(find_checkpoint(v).resolve()) for k, v in given.items()},
    }
    check_shares(resolved, here)
    store = _open_once(data, resolved, encoder or init, here)
    draft = Run(None, resolved, settings)
    check_given(draft, store)
    folder = here.on_main(lambda: Run.create(root, resolved, settings).folder)
    return Run(folder, resolved, settings), store


def _default_recipe(data: str, encoder: str | None, here) -> tuple[str, str | None, tuple[str, ...]]:
    """What is taken where no recipe is named: the recipe, the voice encoder given to it, overrides of it. An
    encoder that keeps no face space is named to the user."""
    from voice2face_gan.data.synthetic import is_synthetic
    from voice2face_gan.models.checkpoint import load_checkpoint
    from voice2face_gan.models.classifier_space import ClassifierSpace
    from voice2face_gan.models.registry import face_space_class

    if encoder is not None:
        space = load_checkpoint(encoder, need_generator=False).face_space
        if not space:
            if here.is_main:
                say(
                    f"The voice encoder {encoder} keeps no face embedding space, which the recipe {OF_FACES} "
                    "needs: the recipe is r3gan. --recipe takes another."
                )
            return "r3gan", encoder, ()
        if face_space_class(space) is ClassifierSpace:
            return FIRST, encoder, ()
    elif is_synthetic(data) or not _can_read_faces():
        return FIRST, None, ()
    side = _side_of_landmarks(data)
    if side is None:
        return OF_FACES, encoder or DEFAULT, ()
    if encoder is None and side == SIDE:
        return OF_HEADS, DEFAULT, ()
    return OF_LANDMARKS, encoder or DEFAULT, (f"model.generator.side={side}",)


def _can_read_faces() -> bool:
    """True if the extra `faces` is installed, which brings the weights of dlib's face reader."""
    from voice2face_gan.models.face_readers.dlib_resnet import weights_file

    try:
        weights_file()
    except CheckpointError:
        return False
    return True


def _side_of_landmarks(data: str) -> int | None:
    """The side of the faces of prepared stores that all keep landmarks; None where one does not."""
    from pathlib import Path

    from voice2face_gan.data.open import source_names
    from voice2face_gan.data.store import Store

    stores = [Path(name).expanduser() for name in source_names(data)]
    if not all((folder / "store.json").is_file() for folder in stores):
        return None
    stores = [Store(folder) for folder in stores]
    with_faces = [store for store in stores if store.has_face.any()]
    if not with_faces or not all(store.has_landmarks for store in with_faces):
        return None
    return with_faces[0].about["side"]


def _recipe_of(name: str, overrides):
    """The recipe that a checkpoint was trained with; of a distilled diffusion, or a calibrated model, that of
    the diffusion that it began with."""
    from voice2face_gan.models.checkpoint import load_checkpoint
    from voice2face_gan.models.classifier_space import CLASSIFIER
    from voice2face_gan.models.reader_space import ReaderSpace
    from voice2face_gan.models.registry import face_space_class
    from voice2face_gan.training.recipe.recipe import kept_recipe, load_recipe
    from voice2face_gan.training.stages.face_embedding import KEPT

    checkpoint = load_checkpoint(name, need_generator=False)
    about = checkpoint.info.get("recipe")
    if not isinstance(about, dict):
        raise TrainingError(f"{checkpoint.folder} does not say its recipe; give one with --recipe.")
    # Its networks are what they are, whatever became of them since that recipe was read.
    now, model = checkpoint.tables(), about.get("model", {})
    model = {name: {k: now[name].get(k, v) for k, v in table.items()} for name, table in model.items()}
    about = {**about, "model": model}
    if about.get("appearance_model", {}).get("part") in ("distillation", "calibration"):
        # It has no teacher any more: its diffusion learns at all levels of noise, as that one did.
        before = load_recipe("face-detail").to_dict()
        drawn = {key: before["model"]["generator"][key] for key in ("detail_steps", "detail_smallest")}
        about = {**before, "model": {**model, "generator": {**model["generator"], **drawn}}}
    space = about.get("face_embedding", {}).get("space")
    of_reader = face_space_class(checkpoint.face_space) is ReaderSpace  # its folder is wanted again
    if checkpoint.face_space and space not in (None, "", CLASSIFIER) and not of_reader:
        about["face_embedding"] = {**about["face_embedding"], "space": KEPT}
    return kept_recipe(about, overrides)


def _open_once(data: str, recipe, given: str | None, here):
    """The store. What has to be made first keeps its speech if an encoder's clips are distorted or it takes
    speech. Of several processes one makes it, then the others open it."""
    from voice2face_gan.audio.encoder_input import SPEECH
    from voice2face_gan.models.checkpoint import takes_speech
    from voice2face_gan.models.registry import ENCODERS

    speech = recipe.encoder_alone and recipe.encoder.augment > 0
    own = ENCODERS[recipe.model.encoder.type][1].takes == SPEECH
    speech = speech or (own if given is None or recipe.pairs else takes_speech(given))
    if here.size > 1:
        here.on_main(lambda: (open_data(data, speech), None)[1])
    return here.on_all_ranks(lambda: open_data(data, speech))


def _evaluation(run, store, here):
    """What computes figures while training, or None; called in the main process alone."""
    from voice2face_gan.cli._validation import validation

    made = []
    here.on_main(lambda: made.append(validation(run, store, here.device, say)))
    wanted = here.max(int(bool(made and made[0])))
    return (made[0] if made else lambda folder: {}) if wanted else None
