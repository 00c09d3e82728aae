"""`v2f-gan bench`: speed on this machine."""

import click

from voice2face_gan.cli.commands.bench.generate import bench_generate
from voice2face_gan.cli.commands.bench.prepare import bench_prepare
from voice2face_gan.cli.commands.bench.train import bench_train


@click.group()
def bench() -> None:
    """Measure speed on this machine, beside a plain implementation of the same work."""


bench.add_command(bench_generate, "generate")
bench.add_command(bench_prepare, "prepare")
bench.add_command(bench_train, "train")
