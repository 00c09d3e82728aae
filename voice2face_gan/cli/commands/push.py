"""`v2f-gan push`: a checkpoint onto the Hugging Face hub."""

import click

from voice2face_gan.cli._console import json_option, print_json, say


@click.command()
@click.argument("checkpoint")
@click.argument("repo", metavar="OWNER/NAME")
@click.option("--private", is_flag=True, help="Visible to its owner alone.")
@click.option(
    "--licence",
    metavar="ID",
    help="Licence of the weights, as the hub spells it: mit, cc-by-nc-4.0, other ...",
)
@click.option(
    "--message", default="Upload with voice2face-gan", show_default=True, help="Message of the commit."
)
@click.option("--dry-run", is_flag=True, help="Print the model card on standard output; upload nothing.")
@json_option
def push(checkpoint, repo, private, licence, message, dry_run, as_json):
    """Publish a checkpoint on the Hugging Face hub: its config.json, model.safetensors and a model card.

    \b
      v2f-gan push runs/00000-r3gan-all-b32/best me/my-voices --dry-run
      v2f-gan push runs/00000-r3gan-all-b32/best me/my-voices --private --licence cc-by-nc-4.0

    CHECKPOINT is a checkpoint or a run folder. Log in first: `hf auth login`, or set HF_TOKEN. The card
    states the checkpoint's data, training and figures. A README.md in the checkpoint's folder is used
    instead, and a card that was written on the hub is kept.
    """
    from voice2face_gan.models.checkpoint import find_checkpoint
    from voice2face_gan.publish import card_of, publish

    if dry_run:
        folder = find_checkpoint(checkpoint)
        card = card_of(folder, repo, licence)
        if as_json:
            print_json({"checkpoint": str(folder), "repo": repo, "readme": card})
        else:
            click.echo(card, nl=False)
        return
    result = publish(checkpoint, repo, private, message=message, licence=licence)
    if as_json:
        print_json(result)
    card = {"own": "its own README.md", "written": "a written model card", "kept": "the hub's card kept"}
    shown = "private" if result["private"] else "public"
    say(f"{result['checkpoint']} -> {result['url']} ({shown}, {card[result['card']]})")
    if result["card"] == "kept" and licence is not None:
        say("The card on the hub is kept, so its licence holds: change it there.")
    if result["card"] == "written" and licence is None:
        say("The card states no licence: give one with --licence.")
