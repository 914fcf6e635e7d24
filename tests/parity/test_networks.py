"""Every variant against every library that has it, with random weights and statistics."""

import gc

import pytest
import torch

from effnet.measure.counts import count
from effnet.weights.conversion import SOURCES, from_effnet, recognise, spec_of, to_effnet
from effnet.weights.names.tables import to_source
from parity.peers import HEAVY, PEERS, STRIDES, Peer, difference, ours_like, randomise, train

CLOSE = 1e-5


@pytest.fixture(
    scope="module",
    params=[pytest.param(p, marks=pytest.mark.slow if p.variant in HEAVY else ()) for p in PEERS],
    ids=str,
)
def pair(request):
    """A peer, its network and ours with the same weights; freed before the next is built."""
    peer: Peer = request.param
    torch.manual_seed(0)
    theirs = randomise(peer.build(), side=64 if peer.variant in HEAVY else 96)
    yield peer, ours_like(peer, theirs), theirs
    del theirs
    gc.collect()


def real_size(peer: Peer) -> int:
    """The variant's resolution, or where that is costly a smaller one that pads alike.

    How 'SAME' pads at every stride up to 32 depends on the size modulo 32 alone.
    """
    resolution = peer.spec.resolution
    if count(peer.spec).macs < 2e9:
        return resolution
    return (64 if peer.variant in HEAVY else 96) + resolution % 32


@pytest.mark.parametrize("size", ["real", "odd"])
@torch.no_grad()
def test_logits_and_features(pair, size):
    peer, ours, theirs = pair
    height, width = (real_size(peer),) * 2 if size == "real" else (peer.side(97), peer.side(75))
    x = torch.randn(1, 3, height, width)
    assert difference(ours(x), peer.logits(theirs, x)) < CLOSE
    for stride, our_map, their_map in zip(
        STRIDES, ours.features(x, STRIDES), peer.features(theirs, x), strict=True
    ):
        assert difference(our_map, their_map) < CLOSE, stride


def test_names_go_back_bit_for_bit(pair):
    peer, _, theirs = pair
    state = theirs.state_dict()
    back = from_effnet(peer.spec, to_effnet(peer.spec, state, peer.library), peer.library)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())


def test_the_tensors_tell_whose_they_are(pair):
    peer, _, theirs = pair
    state = theirs.state_dict()
    assert recognise(state) == peer.library
    found = spec_of(state, peer.library, convention=peer.convention)
    assert found.with_(norm_momentum=peer.spec.norm_momentum) == peer.spec


def test_drop_path_rates(pair):
    peer, ours, theirs = pair
    rates = [block.drop_path.rate for stage in ours.stages for block in stage]
    assert rates == pytest.approx(peer.drop_path_rates(theirs))
    assert max(rates) > 0.1


def test_training_step(pair):
    """Last of the module's tests, as it moves the statistics of both networks."""
    peer, ours, theirs = pair
    side = peer.side(64)
    x, target = torch.randn(2, 3, side, side), torch.randn(2, 1000)
    if peer.rounds_otherwise and peer.variant in HEAVY:
        pytest.skip("in float64 it takes too long; the smaller ones are of the same blocks")
    if peer.rounds_otherwise:
        # Batches of two in training mode multiply the rounding: float64 leaves none.
        x, target, ours, theirs = x.double(), target.double(), ours.double(), theirs.double()
    outputs = [train(ours)(x), peer.logits(train(theirs), x)]
    assert difference(*outputs) < CLOSE
    for out in outputs:
        (out * target).mean().backward()

    names = SOURCES[peer.library]
    gradients = to_source(names, peer.spec, {n: w.grad for n, w in ours.named_parameters()})
    expected = {name: weight.grad for name, weight in theirs.named_parameters()}
    assert gradients.keys() == expected.keys()
    # A bias that the next norm takes out again has no gradient but noise.
    floor = 1e-3 * max(gradient.abs().max().item() for gradient in expected.values())
    for name, gradient in expected.items():
        assert difference(gradients[name], gradient, floor) < CLOSE, name

    statistics = to_source(names, peer.spec, dict(ours.named_buffers()))
    for name, buffer in theirs.named_buffers():
        assert difference(statistics[name], buffer) < CLOSE, name
