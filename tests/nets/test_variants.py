"""The declared variants against published figures and the libraries' own networks."""

from functools import cache

import pytest
import timm
import torch
import torchvision.models
from timm.models import efficientnet
from torch import nn

from effnet.nets.blocks import MBConv
from effnet.nets.network import EfficientNet
from effnet.nets.scaling import scale, variant_spec
from effnet.nets.spec import FAMILY_NAMES
from effnet.nets.variants import FAMILIES, VARIANTS

# Parameters at 1000 classes and blocks, as published.
PUBLISHED = {
    "b0": (5288548, 16),
    "b1": (7794184, 23),
    "b2": (9109994, 23),
    "b3": (12233232, 26),
    "b4": (19341616, 32),
    "b5": (30389784, 39),
    "b6": (43040704, 45),
    "b7": (66347960, 55),
    "b8": (87413142, 61),
    "l2": (480309308, 88),
    "v2-b0": (7139704, 21),
    "v2-b1": (8141052, 27),
    "v2-b2": (10096086, 28),
    "v2-b3": (14358406, 32),
    "v2-s": (21458488, 40),
    "v2-m": (54139356, 57),
    "v2-l": (118515272, 79),
    "v2-xl": (208119808, 100),
    "lite0": (4652008, None),
    "lite1": (5416680, None),
    "lite2": (6092072, None),
    "lite3": (8197096, None),
    "lite4": (13006568, None),
    "edge-s": (5438392, None),
    "edge-m": (6899496, None),
    "edge-l": (10589712, None),
    "cc-b0-4e": (13314116, None),
    "cc-b0-8e": (24013284, None),
    "cc-b1-8e": (39715968, None),
}


def on_meta(build, *args, **options):
    with torch.device("meta"):
        return build(*args, **options)


@cache
def ours(variant, convention="torch"):
    return on_meta(EfficientNet, variant_spec(variant, convention=convention))


@cache
def from_timm(name):
    return on_meta(timm.create_model, name)


def norms(net):
    return [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]


def test_all_variants_are_declared():
    assert VARIANTS.keys() == PUBLISHED.keys()
    assert tuple(FAMILIES) == FAMILY_NAMES


@pytest.mark.parametrize("variant", PUBLISHED)
def test_parameters_and_blocks(variant):
    parameters, blocks = PUBLISHED[variant]
    net = ours(variant)
    assert sum(weight.numel() for weight in net.parameters()) == parameters
    assert blocks in (None, sum(len(stage) for stage in net.stages))


def test_v2_rounds_without_the_10_percent_rule():
    # 16 * 1.2 = 19.2 becomes 16 in V2-B3 and, by the rule, 24 in B3.
    assert from_timm("tf_efficientnetv2_b3").blocks[0][0].conv.out_channels == 16
    assert variant_spec("v2-b3").stages[0].channels == 16
    assert from_timm("tf_efficientnet_b3").blocks[0][0].conv_pw.out_channels == 24
    assert variant_spec("b3").stages[0].channels == 24


@pytest.mark.parametrize(
    ("variant", "name"), [("b0", "efficientnet_b0"), ("v2-s", "efficientnetv2_s")]
)
def test_squeeze_counts_from_the_blocks_input(variant, name):
    theirs = [block for stage in from_timm(name).blocks for block in stage]
    squeezes = [block.se.conv_reduce.out_channels for block in theirs if hasattr(block, "conv_dw")]
    mine = [module.squeeze for module in ours(variant).modules() if isinstance(module, MBConv)]
    assert [squeeze.reduce.out_channels for squeeze in mine] == squeezes


def test_a_fused_block_without_expansion_activates_after_its_norm():
    theirs = from_timm("tf_efficientnetv2_b0").blocks[0][0]
    single = ours("v2-b0").stages[0][0]
    assert isinstance(theirs.bn1.act, nn.SiLU)
    assert isinstance(single.project.act, nn.SiLU)
    assert isinstance(ours("v2-b0").stages[1][0].project.act, nn.Identity)


@pytest.mark.parametrize("variant", ["lite1", "lite2", "lite3", "lite4"])
def test_lite_scales_neither_its_first_and_last_stage_nor_its_ends(variant):
    theirs, spec = from_timm(f"efficientnet_{variant}"), variant_spec(variant)
    assert [stage.repeats for stage in spec.stages] == [len(stage) for stage in theirs.blocks]
    assert [spec.stages[0].repeats, spec.stages[-1].repeats] == [1, 1]
    assert (spec.stem, spec.head) == (theirs.conv_stem.out_channels, theirs.num_features)
    assert (spec.stem, spec.head) == (32, 1280)


@pytest.mark.parametrize(
    ("variant", "name", "width"),
    [("edge-s", "es", 96), ("edge-m", "em", 96), ("edge-l", "el", 128)],
)
def test_edgetpus_first_block_expands_from_24_not_from_the_stem(variant, name, width):
    first = ours(variant).stages[0][0]
    theirs = from_timm(f"efficientnet_{name}").blocks[0][0]
    assert first.expand.conv.out_channels == theirs.conv_exp.out_channels == width
    assert first.expand.conv.in_channels == theirs.conv_exp.in_channels
    assert not first.residual


@pytest.mark.parametrize("name", ["b0", "b4", "b5", "b7", "v2_s", "v2_m", "v2_l"])
def test_both_epsilons_are_in_use_by_the_libraries(name):
    theirs = on_meta(torchvision.models.get_model, f"efficientnet_{name}")
    convention = "torch" if name in ("b0", "b4") else "tensorflow"
    net = ours(name.replace("_", "-"), convention)
    assert {norm.eps for norm in norms(net)} == {norm.eps for norm in norms(theirs)}


@pytest.mark.parametrize(
    ("variant", "convention", "eps", "momentum"),
    [
        ("b0", "torch", 1e-5, 0.1),
        ("b0", "tensorflow", 1e-3, 0.01),
        ("lite0", "tensorflow", 1e-3, 0.01),
        ("v2-s", "torch", 1e-5, 0.1),
        ("v2-s", "tensorflow", 1e-3, 0.1),
    ],
)
def test_norms_by_convention(variant, convention, eps, momentum):
    settings = {(norm.eps, norm.momentum) for norm in norms(ours(variant, convention))}
    assert settings == {(eps, momentum)}


@pytest.mark.parametrize("variant", VARIANTS)
def test_drop_path_counts_the_scaled_blocks(variant):
    net = ours(variant)
    blocks = [block for stage in net.stages for block in stage]
    assert len(blocks) == net.spec.blocks
    for index, block in enumerate(blocks):
        expected = 0.2 * index / len(blocks) if block.residual else 0.0
        assert block.drop_path.rate == pytest.approx(expected)


@pytest.mark.parametrize(("variant", "last"), [("b0", 0.1875), ("v2-b1", 0.2 * 26 / 27)])
def test_the_last_block_drops_nearly_a_fifth(variant, last):
    # keras divides by the unscaled number and reaches 0.248 in V2-B1.
    rates = [block.drop_path.rate for stage in ours(variant).stages for block in stage]
    assert max(rates) == pytest.approx(last if rates[-1] else 0.2 * (len(rates) - 2) / len(rates))


@pytest.mark.parametrize("variant", [f"b{index}" for index in range(8)] + ["v2-s", "v2-m", "v2-l"])
def test_dropout_by_variant_as_torchvisions(variant):
    theirs = on_meta(torchvision.models.get_model, f"efficientnet_{variant.replace('-', '_')}")
    assert ours(variant).dropout.p == theirs.classifier[0].p


@pytest.mark.parametrize(
    ("variant", "dropout"),
    [
        ("b8", 0.5),
        ("l2", 0.5),
        ("v2-b0", 0.2),
        ("v2-b3", 0.3),
        ("v2-xl", 0.4),
        ("lite4", 0.3),
        ("edge-s", 0.2),
        ("edge-l", 0.3),
        ("cc-b0-4e", 0.25),
        ("cc-b1-8e", 0.25),
    ],
)
def test_dropout_where_no_library_has_it(variant, dropout):
    assert variant_spec(variant).dropout == dropout


def test_lites_own_resolutions():
    sizes = [variant_spec(f"lite{index}").resolution for index in range(5)]
    assert sizes == [224, 240, 260, 280, 300]


TIMM_RUNS_LARGER = {"lite3", "lite4", "cc-b1-8e"}


@pytest.mark.parametrize("variant", sorted(VARIANTS.keys() - TIMM_RUNS_LARGER))
def test_resolutions_are_timms(variant):
    name = {"edge-s": "es", "edge-m": "em", "edge-l": "el"}.get(variant, variant).replace("-", "_")
    name = f"tf_efficientnet{name}" if name.startswith("v2") else f"tf_efficientnet_{name}"
    published = timm.get_pretrained_cfg(name)
    spec = variant_spec(variant)
    tested = published.test_input_size or published.input_size
    # timm's default weights of L2 are those at 475 px, the size that it is trained at.
    assert tested[-1] == (spec.train_resolution if variant == "l2" else spec.resolution)
    if variant.startswith("v2"):
        assert published.input_size[-1] == spec.train_resolution


def test_the_searched_v2_sizes_scale_their_ends_as_timms():
    theirs = on_meta(efficientnet._gen_efficientnetv2_s, "efficientnetv2_s", 1.5, 1.2)
    spec = scale("v2-s", width=1.5, depth=1.2)
    assert (spec.stem, spec.head) == (theirs.conv_stem.out_channels, theirs.num_features)
    assert [stage.repeats for stage in spec.stages] == [len(stage) for stage in theirs.blocks]
