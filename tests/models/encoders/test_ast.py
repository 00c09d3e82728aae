"""AST as a voice encoder: a tiny one of random weights, from settings and from a folder; head first, then
all."""

import sys

import pytest
import torch

from voice2face_gan.errors import CheckpointError
from voice2face_gan.models.encoders.ast import AstNet

TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_length": 64,
    "num_mel_bins": 32,
    "hidden_dropout_prob": 0.1,
}


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers", reason="the extra speech2face is not installed")


@pytest.fixture(scope="module")
def folder(transformers, tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("ast")
    transformers.ASTModel(transformers.ASTConfig(**TINY)).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def fbank():
    return torch.randn(3, 32, 64, generator=torch.Generator().manual_seed(1))


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    for make in (lambda: AstNet(8), lambda: AstNet.from_pretrained("x", 8)):
        with pytest.raises(CheckpointError, match=r"voice2face-gan\[speech2face\]"):
            make()


def test_the_published_sizes(transformers):
    """12 x 101 patches and two tokens; 86 M numbers, on the meta device."""
    # Imported before: modules loaded inside, such as torchaudio's Kaldi, would keep constants on that device.
    assert transformers.ASTModel and transformers.ASTFeatureExtractor
    with torch.device("meta"):
        encoder = AstNet(4096)
    assert (encoder.n_mels, encoder.frames) == (128, 1024)
    assert encoder.ast.embeddings.position_embeddings.shape == (1, 12 * 101 + 2, 768)
    assert sum(p.numel() for p in encoder.ast.parameters()) == pytest.approx(86.2e6, rel=0.01)


def test_a_folder_gives_its_weights_and_a_new_head(transformers, folder, fbank):
    encoder = AstNet.from_pretrained(folder, 5).eval()
    theirs = transformers.ASTModel.from_pretrained(folder).eval()
    with torch.no_grad():
        e, features = encoder.with_features(fbank)
        pooled = theirs(input_values=fbank.transpose(1, 2)).pooler_output
        assert torch.allclose(features, encoder.norm(pooled), atol=1e-5)
        assert e.shape == (3, 5) and torch.equal(e, encoder(fbank))
        assert torch.allclose(e, encoder.last(features))


def test_settings_rebuild_the_network(folder, fbank):
    encoder = AstNet.from_pretrained(folder, 5, last_relu=True).eval()
    config = encoder.config
    again = AstNet(config["embedding"], config["ast"], config["last_relu"]).eval()
    again.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        assert torch.equal(again(fbank), encoder(fbank)) and again(fbank).min() >= 0


def test_the_head_alone_then_everything(folder, fbank):
    encoder = AstNet.from_pretrained(folder, 5).train_only_head().train()
    assert not encoder.ast.training and encoder.norm.training
    before = {n: p.clone() for n, p in encoder.named_parameters()}
    for only, moves in ((True, ("last", "norm")), (False, ("last", "norm", "ast"))):
        encoder.train_only_head(only).train()
        assert encoder.ast.training is not only
        optimiser = torch.optim.SGD(encoder.parameters_to_train(), lr=0.1)
        optimiser.zero_grad()
        encoder(fbank).square().sum().backward()
        optimiser.step()
        moved = {n.split(".")[0] for n, p in encoder.named_parameters() if not torch.equal(p, before[n])}
        assert moved == set(moves)


def test_what_is_no_ast_is_refused_in_a_sentence(transformers, folder, tmp_path):
    for source, sentence in (
        (tmp_path / "none", "There is no folder"),
        (tmp_path, "not an AST that can be loaded"),
        ("surely/not-there", "not an AST that can be loaded"),
    ):
        with pytest.raises(CheckpointError, match=sentence) as error:
            AstNet.from_pretrained(source, 5)
        assert str(source) in str(error.value) and "\n" not in str(error.value)
    other = tmp_path / "vit"
    vit = {k: v for k, v in TINY.items() if k not in ("max_length", "num_mel_bins")} | {"image_size": 32}
    transformers.ViTModel(transformers.ViTConfig(**vit)).save_pretrained(other)
    with pytest.raises(CheckpointError, match="not an AST"):
        AstNet.from_pretrained(other, 5)
    with pytest.raises(CheckpointError, match="AST of 32 bins and 64 frames cannot take"):
        AstNet.from_pretrained(folder, 5)(torch.zeros(1, 32, 65))
