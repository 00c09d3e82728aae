"""Losses of Speech2Face's family by hand: values, gradients, and that no term knows the batch's size."""

import math

import pytest
import torch

from voice2face_gan.models.face_readers.base import FaceFeatures, FaceReaderNet
from voice2face_gan.models.generators.face_decoder import Decoded, FaceDecoder, FaceDecoderConfig
from voice2face_gan.training.stages.speech2face_losses import (
    DecoderWeights,
    EncoderWeights,
    decoder_losses,
    distillation_loss,
    embedding_loss,
    encoder_losses,
    feature_loss,
    landmark_loss,
    layer_loss,
    texture_loss,
)

SIZE, CLASSES, SIDE = 6, 4, 16
WEIGHTS = DecoderWeights(landmarks=1.0, texture=50.0, embedding=100.0)


class Reader(FaceReaderNet):
    """A frozen linear reader with classes."""

    size, classes, name = SIZE, CLASSES, "linear"

    def __init__(self):
        super().__init__()
        self.read, self.last = torch.nn.Linear(3 * SIDE**2, SIZE), torch.nn.Linear(SIZE, CLASSES)
        self.requires_grad_(False)

    def forward(self, faces):
        feature = self.read(faces.flatten(1))
        return FaceFeatures(feature, self.last(feature))

    def classify(self, feature):
        return self.last(feature)


class NoClasses(Reader):
    classes = 0

    def classify(self, feature):
        return None


@pytest.fixture(scope="module")
def nets():
    torch.manual_seed(0)
    decoder = FaceDecoder(FaceDecoderConfig(SIZE, SIDE, "linear", narrow=3, boundary=1))
    torch.nn.init.normal_(decoder.landmark_head[-1].weight, std=0.02)
    return decoder, Reader()


def test_the_layers_loss_is_a_sum_of_differences():
    a, b = (
        torch.tensor([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0]]),
        torch.tensor([[0.0, 1.0, 0.5], [1.0, 1.0, -2.0]]),
    )
    assert layer_loss(a, b).tolist() == [4.0, 4.0]


def test_the_features_loss_is_the_squared_distance_of_unit_vectors():
    """2 - 2 cos: 2 for a right angle, 4 for the opposite; neither a mean over the numbers nor of raw
    features."""
    a = torch.tensor([[3.0, 0.0], [2.0, 0.0], [5.0, 5.0]])
    b = torch.tensor([[0.0, 7.0], [-1.0, 0.0], [0.1, 0.1]])
    assert torch.allclose(feature_loss(a, b), torch.tensor([2.0, 4.0, 0.0]), atol=1e-6)


def test_distillation_is_minus_p_log_q_at_temperature_2():
    """Two classes, by hand: p = (3/4, 1/4) from logits 2 ln 3 and 0, q = (1/2, 1/2) and p itself."""
    true = torch.tensor([[2 * math.log(3), 0.0]]).expand(2, 2)
    predicted = torch.tensor([[0.0, 0.0], [2 * math.log(3), 0.0]])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    found = distillation_loss(predicted, true)
    assert torch.allclose(found, torch.tensor([math.log(2), entropy]))
    assert found.min() > 0, "its sign is that of a cross-entropy"


def test_distillation_pulls_towards_the_true_classes():
    true = torch.randn(3, CLASSES, generator=torch.Generator().manual_seed(1))
    predicted = torch.zeros(3, CLASSES, requires_grad=True)
    distillation_loss(predicted, true).sum().backward()
    wanted = (predicted.detach() / 2).softmax(1) - (true / 2).softmax(1)
    assert torch.allclose(predicted.grad, wanted / 2, atol=1e-6)


def seeded(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_equation_3_is_the_weighted_sum(nets):
    decoder, reader = nets
    predicted, true = seeded(5, SIZE), seeded(5, SIZE, seed=1)
    loss, terms = encoder_losses(predicted, true, decoder, reader)
    by_hand = []
    for s, f in zip(predicted, true, strict=True):
        layer = (decoder.stem(f) - decoder.stem(s)).abs().sum()
        feature = (f / f.norm() - s / s.norm()).norm() ** 2
        p, q = (reader.last(f) / 2).exp(), (reader.last(s) / 2).exp()
        classes = -(p / p.sum() * (q / q.sum()).log()).sum()
        by_hand.append(layer + 0.025 * feature + 200 * classes)
    assert torch.allclose(loss, torch.stack(by_hand).mean(), rtol=1e-5)
    assert set(terms) == {"layer", "feature", "classes"}
    assert (EncoderWeights().feature, EncoderWeights().classes) == (0.025, 200)


def test_every_term_of_equation_3_has_a_gradient_for_the_prediction(nets):
    decoder, reader = nets
    off = {"layer": 0.0, "feature": 0.0, "classes": 0.0}
    for name in off:
        predicted = seeded(3, SIZE).requires_grad_()
        true = seeded(3, SIZE, seed=1).requires_grad_()
        loss, _ = encoder_losses(predicted, true, decoder, reader, EncoderWeights(**{**off, name: 1.0}))
        loss.backward()
        assert predicted.grad.abs().amax(dim=1).min() > 0, name
        assert true.grad is None


def test_the_gradient_of_equation_3_is_exact(nets):
    decoder, reader = (
        net.double()
        for net in (FaceDecoder(FaceDecoderConfig(SIZE, SIDE, "linear", 3, boundary=1)), Reader())
    )
    predicted = seeded(2, SIZE).double().requires_grad_()
    true = seeded(2, SIZE, seed=1).double()
    assert torch.autograd.gradcheck(lambda p: encoder_losses(p, true, decoder, reader)[0], predicted)


def test_a_reader_without_classes_leaves_that_term(nets):
    _, terms = encoder_losses(seeded(2, SIZE), seeded(2, SIZE, seed=1), nets[0], NoClasses())
    assert set(terms) == {"layer", "feature"}


def test_no_term_depends_on_the_batchs_size(nets):
    """A batch twice over has the loss of the batch, and the mean of its samples' losses."""
    decoder, reader = nets
    predicted, true = seeded(4, SIZE), seeded(4, SIZE, seed=1)
    whole = encoder_losses(predicted, true, decoder, reader)[0]
    assert torch.allclose(
        encoder_losses(predicted.repeat(3, 1), true.repeat(3, 1), decoder, reader)[0], whole
    )
    alone = [
        encoder_losses(p[None], t[None], decoder, reader)[0] for p, t in zip(predicted, true, strict=True)
    ]
    assert torch.allclose(torch.stack(alone).mean(), whole)

    decoded, aims = decoder.decoded(predicted), (seeded(4, 3, SIDE, SIDE), seeded(4, 68, 2), true)
    whole = decoder_losses(decoded, *aims, reader, WEIGHTS)[0]
    alone = [
        decoder_losses(
            Decoded(*(part[i : i + 1] for part in decoded)), *(a[i : i + 1] for a in aims), reader, WEIGHTS
        )[0]
        for i in range(4)
    ]
    assert torch.allclose(torch.stack(alone).mean(), whole, rtol=1e-4)


def test_the_textures_loss_is_a_mean_and_leaves_what_is_not_shown():
    a, b = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    b[1] = -0.5
    assert texture_loss(a, b).tolist() == [1.0, 0.5]
    shown = torch.zeros(2, 1, 4, 4)
    shown[0, :, :2] = 1
    b[0, :, :2] = 0.25
    assert texture_loss(a, b, shown).tolist() == [0.25, 0.0]


def test_the_landmarks_loss_is_in_squared_pixels_of_224():
    """2 pixels right at a side of 112 are 4 at 224: 16 for x, 0 for y, 8 on average."""
    a = torch.zeros(1, 68, 2)
    assert landmark_loss(a + torch.tensor([2.0, 0.0]), a, 112).tolist() == [8.0]
    assert landmark_loss(a + torch.tensor([4.0, 0.0]), a, 224).tolist() == [8.0]


def test_the_embeddings_loss_is_one_less_the_cosine():
    a, b = (
        torch.tensor([[2.0, 0.0], [1.0, 0.0], [1.0, 0.0]]),
        torch.tensor([[3.0, 0.0], [0.0, 1.0], [-4.0, 0.0]]),
    )
    assert torch.allclose(embedding_loss(a, b), torch.tensor([0.0, 1.0, 2.0]))


def test_the_embeddings_gradient_goes_through_the_rendered_image(nets):
    """To texture and landmarks both, and so to every weight of the decoder; none to the reader."""
    decoder, reader = nets
    decoder.zero_grad()
    decoded = decoder.decoded(seeded(2, SIZE))
    for part in decoded:
        part.retain_grad()
    weights = DecoderWeights(landmarks=0, texture=0, embedding=100)
    loss, terms = decoder_losses(
        decoded, decoded.texture, decoded.landmarks, seeded(2, SIZE, seed=3), reader, weights
    )
    loss.backward()
    assert loss.item() == pytest.approx(100 * terms["embedding"].item())
    assert all(part.grad.abs().max() > 0 for part in decoded)
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in decoder.parameters())
    assert all(p.grad is None for p in reader.parameters())


def test_without_a_reader_there_are_two_terms(nets):
    decoded = nets[0].decoded(seeded(2, SIZE))
    loss, terms = decoder_losses(
        decoded, decoded.texture + 0.5, decoded.landmarks + 1, seeded(2, SIZE), None, WEIGHTS
    )
    assert set(terms) == {"texture", "landmarks"}
    assert loss.item() == pytest.approx(50 * 0.5 + (224 / SIDE) ** 2, rel=1e-4)
