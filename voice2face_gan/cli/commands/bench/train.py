"""`v2f-gan bench train`: speed of training the GAN on this machine."""

import click

from voice2face_gan.cli._console import console, json_option, open_data, print_json, say


@click.command()
@click.option("--recipe", default="wen2019", show_default=True, help="Recipe name or TOML file.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key.")
@click.option("--batch", type=click.IntRange(2), default=64, show_default=True, help="Images in a step.")
@click.option("--steps", type=click.IntRange(1), default=20, show_default=True, help="Counted steps of each.")
@click.option("--data", default="synthetic:64", show_default=True, help="As for train.")
@click.option("--threads", type=click.IntRange(1), help="Processor threads. [default: PyTorch's own choice]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, ...")
@click.option("--memory/--no-memory", default=True, show_default=True, help="Measure peak memory too.")
@json_option
def bench_train(recipe, overrides, batch, steps, data, threads, device, memory, as_json):
    """Print images a second, beside a plain loop of the paper's Algorithm 1.

    Both train the same networks from the same weights on the same batches, a step of each in turn.
    """
    from voice2face_gan.bench.train import check, measure
    from voice2face_gan.device import choose_device
    from voice2face_gan.training.recipe.recipe import load_recipe

    resolved = load_recipe(recipe, (*overrides, f"gan.batch={batch}"))
    chosen = choose_device(device)
    check(resolved)
    open_data(data)  # makes them where there are none yet
    result = measure(resolved, data, steps, chosen, threads, memory, say)
    _print(result)
    if as_json:
        print_json(result)


def _print(result: dict) -> None:
    from rich.table import Table

    where = f"{result['threads']} threads" if result["device"] == "cpu" else result["device"]
    table = Table(title=f"{result['recipe']}, batch {result['batch']}, {result['steps']} steps, {where}")
    for title in ("loop", "images/s", "ms/step", "ratio", "GFLOP/step", "of matmul", "peak MiB"):
        table.add_column(title, justify="left" if title == "loop" else "right")
    for name, run in result["runs"].items():
        table.add_row(
            name,
            f"{run['images_per_second']:.1f}",
            f"{run['step_ms']:.1f}",
            f"{result['ratio'].get(name, 1):.2f}",
            f"{run['gflop_per_step']:.0f}",
            f"{run['share_of_matmul']:.0%}",
            str(run.get("peak_mib", "")),
        )
    console().print(table)
    rates = ", ".join(f"{rate / 1000:.2f} TFLOP/s in {p}" for p, rate in result["matmul_gflops"].items())
    say(f"Matrix products run at {rates}.")
    say(f"In fp32 the two loops' losses differ by at most {result['loss_difference']:.1e}.")
