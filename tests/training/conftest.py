"""What these tests share. Their nets are so small that one thread is fastest."""

import pytest

_SMALL_MODERN = (
    "model.width=4",
    "model.z_dim=6",
    "gan.batch=8",
    "data.crop_frames=[100,200]",
    "run.precision='fp32'",
)


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    pass


@pytest.fixture
def make_stage(trained, store):
    """Function (*overrides, data, processes) -> a new modern stage of small nets on the trained run's
    embedder, in fp32."""
    import torch

    from voice2face_gan.models.checkpoint import load_checkpoint
    from voice2face_gan.training.modern import ModernStage
    from voice2face_gan.training.recipe import load_recipe

    def make(*overrides: str, data=store, processes=None) -> ModernStage:
        embedder = load_checkpoint(trained / "embedder", need_generator=False)
        recipe = load_recipe("modern", (*_SMALL_MODERN, *overrides))
        people = data.of_split("train"), data.of_split("val")
        return ModernStage(*people, embedder, recipe, 0, torch.device("cpu"), processes)

    return make
