"""The command line, `v2f-gan`. One file a command; heavy imports are inside the commands."""

import click

from voice2face_gan.cli._console import Group
from voice2face_gan.cli.commands import (
    bench,
    compose,
    convert,
    data,
    embed,
    evaluate,
    export,
    face_space,
    fetch,
    generate,
    info,
    morph,
    prepare,
    push,
    reconstruct,
    report,
    runs,
    serve,
    train,
    train_face_classifier,
)
from voice2face_gan.version import __version__


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="v2f-gan")
def main() -> None:
    """A face from a voice: generate, train, evaluate.

    \b
      v2f-gan generate clip.wav                a face for a recording, clip.png
      v2f-gan train --gender female            train on the synthetic world, offline
      v2f-gan evaluate --metric all            measure a model on people it was not trained on

    Images are synthetic. They show what the training data associate with a voice, not the speaker: use
    them for research and avatars, never to identify or judge a person.
    """


for command in (
    generate.generate,
    reconstruct.reconstruct,
    morph.morph,
    embed.embed,
    serve.serve,
    train.train,
    runs.runs,
    evaluate.evaluate,
    report.report,
    push.push,
    prepare.prepare,
    data.data,
    face_space.face_space,
    compose.compose,
    fetch.fetch,
    train_face_classifier.train_face_classifier,
    convert.convert,
    export.export,
    bench.bench,
    info.info,
):
    main.add_command(command)
