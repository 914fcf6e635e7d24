"""Parity can be missed, and no variant or library is left out of it."""

from collections import Counter

import pytest
import torch

from effnet.nets.network import EfficientNet
from effnet.nets.variants import VARIANTS
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


def test_no_network_of_the_family_is_left_out():
    assert {peer.variant for peer in PEERS} == VARIANTS.keys()
    libraries = Counter(peer.library for peer in PEERS)
    assert libraries == {"timm": 54, "torchvision": 11}
