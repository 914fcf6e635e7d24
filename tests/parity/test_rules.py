"""Parity can be missed, and no variant or library is left out of it."""

from collections import Counter, defaultdict

import pytest
import torch

from effnet.nets.network import EfficientNet
from effnet.nets.variants import VARIANTS
from effnet.weights.libraries import LIBRARIES
from parity.peers import PEERS, difference, ours_like, randomise

BY_NAME = {str(peer): peer for peer in PEERS}


@pytest.mark.parametrize(
    "change", [{"padding": "symmetric"}, {"norm_eps": 1e-5}, {"activation": "relu"}], ids=str
)
@pytest.mark.parametrize("name", ["timm-tf_efficientnet_b0", "timm-tf_efficientnetv2_b0"])
@torch.no_grad()
def test_a_wrong_rule_is_far_from_parity(name, change):
    peer = BY_NAME[name]
    torch.manual_seed(0)
    theirs = randomise(peer.build())
    ours = ours_like(peer, theirs)
    wrong = EfficientNet(ours.spec.with_(**change)).eval()
    wrong.load_state_dict(ours.state_dict())
    x = torch.randn(1, 3, 96, 96)
    assert difference(ours(x), theirs(x)) < 1e-5 < 1e-4 < difference(wrong(x), theirs(x))


@pytest.mark.parametrize(("side", "right"), [(240, True), (144, True), (224, False), (225, False)])
@torch.no_grad()
def test_transformers_pads_for_one_size(side, right):
    """Its b1 is right at the 240 pixels it was made for, and at sizes equal to them modulo 32."""
    peer = BY_NAME["transformers-efficientnet-b1"]
    torch.manual_seed(0)
    theirs = randomise(peer.build())
    x = torch.randn(1, 3, side, side)
    found = difference(ours_like(peer, theirs)(x), peer.logits(theirs, x))
    assert found < 1e-5 if right else found > 1e-3


def test_no_network_of_the_family_is_left_out():
    assert {peer.variant for peer in PEERS} == VARIANTS.keys()
    libraries = Counter(peer.library for peer in PEERS)
    assert libraries == {"timm": 54, "torchvision": 11, "transformers": 8, "lukemelas": 10}


def test_conversion_knows_what_each_library_has():
    found = defaultdict(set)
    for peer in PEERS:
        found[peer.library, peer.variant].add((peer.spec.padding, peer.spec.norm_eps))
    known = {
        (library, variant): {(rule.padding, rule.norm_eps) for rule in rules}
        for library in ("timm", "torchvision", "transformers", "lukemelas")
        for variant, rules in LIBRARIES[library].rules.items()
    }
    # transformers publishes neither, but builds any network of the first generation.
    for variant in ("b8", "l2"):
        del known["transformers", variant]
    assert found == known
