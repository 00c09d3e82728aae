"""`v2f-gan prepare`: a data set as it lies on disk -> a prepared store."""

import click

from voice2face_gan.cli._console import console, json_option, print_json, progress_bar, say


def _layouts(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    """--layouts: print them and leave."""
    if not value or context.resilient_parsing:
        return
    from voice2face_gan.data.layouts import LAYOUTS

    for layout in LAYOUTS.values():
        click.echo(f"{layout.name} {' '.join(layout.sources)}\n    {layout.description}")
        for name, option in layout.options.items():
            click.echo(f"    --option {name}={option.default}: {option.help}")
    context.exit()


@click.command()
@click.argument("layout")
@click.argument("sources", nargs=-1, required=True, metavar="SRC...")
@click.option("-o", "--out", "store", required=True, metavar="STORE", help="Folder of the store.")
@click.option(
    "--layouts",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_layouts,
    help="List the layouts with their folders and options.",
)
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="Option of the layout.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a setting: features.hop_ms=10, vad.aggressiveness=3, voice.max_seconds=60, ...",
)
@click.option(
    "--detector",
    type=click.Choice(["auto", "hog", "cnn", "none"]),
    default="auto",
    show_default=True,
    help="How faces are found; none: they are aligned already.",
)
@click.option(
    "--side",
    type=click.Choice(["64", "112", "128", "224"]),
    default="64",
    show_default=True,
    help="Of a face, in pixels.",
)
@click.option(
    "--split",
    default="",
    metavar="RULE",
    help="wen-letters, official, seeded, stratified (by gender, age and ethnicity), none or a list (a file). "
    "[default: the layout's]",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of a seeded or stratified split."
)
@click.option(
    "--keep-speech",
    is_flag=True,
    help="Keep the speech beside its log-mel, 115 MB an hour, for recipes of a voice encoder alone.",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Take only the first N records.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="Processes, 0.4 GiB each. [default: one a processor, at most 10]",
)
@click.option("--cluster", metavar="ADDRESS", help="Prepare on a Ray cluster; 'local' starts one here.")
@click.option(
    "--dataset",
    metavar="NAME",
    help="Name of the data set; equal identities of one data set are one person. [default: layout/folder]",
)
@click.option("--force", is_flag=True, help="Prepare anew, replacing a store or an interrupted run.")
@json_option
def prepare(
    layout,
    sources,
    store,
    options,
    overrides,
    detector,
    side,
    split,
    seed,
    keep_speech,
    limit,
    workers,
    cluster,
    dataset,
    force,
    as_json,
):
    """Turn a data set into a store that trains. Interrupted, the same command goes on where it stopped.

    \b
      v2f-gan prepare --layouts                                    what is known
      v2f-gan prepare voxceleb1 vox1/wav VGGFace -o vox1.store     voices and faces joined by name
      v2f-gan prepare folders my-people -o mine.store --detector cnn
      v2f-gan data mine.store --sheet look.png                     see what came of it
    """
    from voice2face_gan.data.layouts import find_layout
    from voice2face_gan.data.prepare.prepare import SplitChoice
    from voice2face_gan.data.prepare.prepare import prepare as prepare_set
    from voice2face_gan.data.prepare.settings import PrepareSettings
    from voice2face_gan.errors import DataError

    speech = ["voice.keep_speech=true"] if keep_speech else []
    settings = PrepareSettings.of([f"faces.detector={detector}", f"faces.side={side}", *overrides, *speech])
    pairs = {}
    for text in options:
        key, equals, value = text.partition("=")
        if not equals:
            raise DataError(f"--option {text}: write --option key=value; --layouts lists them.")
        pairs[key.strip()] = value.strip()
    known = find_layout(layout)
    for line in (*known.report(sources, **pairs).lines(), *known.notes(sources, **pairs)):
        say(line)
    with Show() as show:
        outcome = prepare_set(
            layout,
            sources,
            store,
            settings,
            options=pairs,
            split=SplitChoice(split, seed),
            limit=limit,
            workers=workers,
            cluster=cluster,
            dataset=dataset,
            force=force,
            progress=show,
        )
    describe(outcome.store)
    if outcome.already:
        say(f"{outcome.store.folder} is prepared already from these files and settings; nothing was done.")
    else:
        went_on = ", going on with an interrupted run" if outcome.resumed else ""
        say(f"{outcome.store.folder} prepared in {outcome.seconds:.0f} s{went_on}.")
    dropped = outcome.store.dropped()
    if dropped:
        say(
            f"Warning: {sum(dropped.values())} files were dropped; "
            f"{outcome.store.folder / 'dropped.csv'} names each with its reason."
        )
    if outcome.store.noted():
        say(
            f"{outcome.store.noted()} files were taken in part; "
            f"{outcome.store.folder / 'noted.csv'} names each and says which."
        )
    if as_json:
        print_json(
            {
                "store": str(outcome.store.folder),
                "already": outcome.already,
                "resumed": outcome.resumed,
                "seconds": round(outcome.seconds, 2),
                **document(outcome.store),
            }
        )


def document(store) -> dict:
    """Content of a store, for JSON."""
    return {
        "source": store.about["source"],
        "features": store.about["features"],
        "side": store.about["side"],
        **store.summary(),
        "breakdown": store.breakdown(),
        "dropped": store.dropped(),
        "noted": store.noted(),
    }


def describe(store) -> None:
    """The tables of what is in a store and of what was dropped."""
    from rich.table import Table

    counts = store.summary()
    table = Table(title=f"{store.folder.name}: {store.about['source'].get('layout', '')}")
    for name in ("split", "gender"):
        table.add_column(name)
    for name in ("identities", "clips", "faces", "hours"):
        table.add_column(name, justify="right")
    for row in store.breakdown():
        cells = [row[k] for k in ("split", "gender", "identities", "voices", "faces")]
        table.add_row(*(str(cell) for cell in cells), f"{row['hours']:.2f}")
    table.add_section()
    totals = [str(counts[k]) for k in ("identities", "voices", "faces")]
    table.add_row("all", "", *totals, f"{counts['hours']:.2f}")
    console().print(table)
    dropped = store.dropped()
    if dropped:
        table = Table(title="dropped")
        table.add_column("what and why")
        table.add_column("files", justify="right")
        for reason, count in dropped.items():
            table.add_row(reason, str(count))
        console().print(table)


class Show:
    """Progress: records done, rate and time left. Without a terminal, a line now and then."""

    _LINE_SECONDS = 15

    def __enter__(self) -> "Show":
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

        self.bar = progress_bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        self.bar.start()
        self.task = None
        return self

    def __exit__(self, *_) -> None:
        self.bar.stop()

    def __call__(self, done: int, total: int) -> None:
        import time

        now = time.monotonic()
        if self.task is None:
            self.task = self.bar.add_task("preparing", total=total, completed=done, rate="")
            self.first, self.began, self.line = done, now, now
            return
        rate = (done - self.first) / max(now - self.began, 1e-9)
        self.bar.update(self.task, completed=done, rate=f"{rate:.1f} records/s")
        if self.bar.disable and now - self.line > self._LINE_SECONDS:
            self.line = now
            left = (total - done) / max(rate, 1e-9)
            say(f"{done}/{total} records  {rate:.1f} records/s  {left:.0f} s left")
