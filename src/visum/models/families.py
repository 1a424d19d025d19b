"""The families of networks that textbooks name, one verified member of each.

Every timm and torchvision architecture can be used by its own name; these eleven are tested here from building to export.
``top1`` is what one crop of one network scores on the 50,000 validation images of ImageNet-1k. Many surveys print 96.5 % for
ResNet, 97.0 % for DenseNet and 98.4 % for EfficientNet as "top-1": those are top-5 scores or scores on other data sets.
"""

from __future__ import annotations

from dataclasses import dataclass

TORCHVISION = "torchvision's weights, meta['_metrics']"
TIMM = "timm, results/results-imagenet.csv"
NO_CLAIM = "none stated; torchvision is BSD-3-Clause, the data's terms may apply"


@dataclass(frozen=True)
class Family:
    """One family.

    Attributes:
        member: architecture, as ``--backbone`` and ``zoo.build`` take it.
        weights: which published weights ``top1`` belongs to: timm's tag or torchvision's name.
        year, paper: first publication of the family.
        size: input side in pixels.
        parameters: with the classifier of 1,000 classes.
        multiply_adds: of one image at ``size``, as ``models.anatomy`` counts them.
        top1: percent of ImageNet-1k's validation images.
        top1_size: side of the pictures that ``top1`` was measured at, in pixels.
        source: who published ``top1``.
        licence: of the weights.
        words: what it is, in one sentence.
    """

    member: str
    weights: str
    year: int
    paper: str
    size: int
    parameters: int
    multiply_adds: float
    top1: float
    top1_size: int
    source: str
    licence: str
    words: str


FAMILIES: dict[str, Family] = {
    "AlexNet": Family(
        member="alexnet",
        weights="IMAGENET1K_V1",
        year=2012,
        paper="Krizhevsky et al. 2012; this one-column form: Krizhevsky 2014, arXiv 1404.5997",
        size=224,
        parameters=61_100_840,
        multiply_adds=714e6,
        top1=56.522,
        top1_size=224,
        source=TORCHVISION,
        licence=NO_CLAIM,
        words="Five convolutions and three large fully connected layers: the network that began it all.",
    ),
    "VGG": Family(
        member="vgg11",
        weights="tv_in1k",
        year=2014,
        paper="Simonyan and Zisserman 2014, arXiv 1409.1556",
        size=224,
        parameters=132_863_336,
        multiply_adds=7.609e9,
        top1=69.020,
        top1_size=224,
        source=TORCHVISION,
        licence="bsd-3-clause",
        words="Nothing but 3 x 3 convolutions and pooling, then two very large fully connected layers.",
    ),
    "ResNet": Family(
        member="resnet50",
        weights="tv_in1k",
        year=2015,
        paper="He et al. 2015, arXiv 1512.03385",
        size=224,
        parameters=25_557_032,
        multiply_adds=4.089e9,
        top1=76.130,
        top1_size=224,
        source=TORCHVISION,
        licence="bsd-3-clause",
        words="Blocks that add to their input what they compute, so that depth does no harm.",
    ),
    "DenseNet": Family(
        member="densenet121",
        weights="tv_in1k",
        year=2016,
        paper="Huang et al. 2016, arXiv 1608.06993",
        size=224,
        parameters=7_978_856,
        multiply_adds=2.834e9,
        top1=74.764,
        top1_size=224,
        source=TIMM,
        licence="apache-2.0",
        words="Every layer sees the outputs of all layers before it in its block.",
    ),
    "EfficientNet": Family(
        member="efficientnet_b0",
        weights="ra_in1k",
        year=2019,
        paper="Tan and Le 2019, arXiv 1905.11946",
        size=224,
        parameters=5_288_548,
        multiply_adds=386e6,
        top1=77.694,
        top1_size=224,
        source=TIMM,
        licence="apache-2.0",
        words="Inverted bottlenecks with channel attention; depth, width and size grow together.",
    ),
    "MobileNet": Family(
        member="mobilenetv3_small_100",
        weights="lamb_in1k",
        year=2017,
        paper="Howard et al. 2017, arXiv 1704.04861; this member: Howard et al. 2019, arXiv 1905.02244",
        size=224,
        parameters=2_542_856,
        multiply_adds=56.5e6,
        top1=67.656,
        top1_size=224,
        source=TIMM,
        licence="apache-2.0",
        words="Depthwise convolutions, found by search for the processors of phones.",
    ),
    "SqueezeNet": Family(
        member="squeezenet1_1",
        weights="IMAGENET1K_V1",
        year=2016,
        paper="Iandola et al. 2016, arXiv 1602.07360",
        size=224,
        parameters=1_235_496,
        multiply_adds=349e6,
        top1=58.178,
        top1_size=224,
        source=TORCHVISION,
        licence=NO_CLAIM,
        words="Squeezes channels by 1 x 1 before it expands them: AlexNet's accuracy in a fiftieth of its weights.",
    ),
    "ViT": Family(
        member="vit_tiny_patch16_224",
        weights="augreg_in21k_ft_in1k",
        year=2020,
        paper="Dosovitskiy et al. 2020, arXiv 2010.11929; these weights: Steiner et al. 2021, arXiv 2106.10270",
        size=224,
        parameters=5_717_416,
        multiply_adds=1.254e9,
        top1=75.454,
        top1_size=224,
        source=TIMM,
        licence="apache-2.0",
        words="A plain transformer over patches of 16 x 16 pixels; every patch looks at every other.",
    ),
    "Swin": Family(
        member="swin_tiny_patch4_window7_224",
        weights="ms_in1k",
        year=2021,
        paper="Liu et al. 2021, arXiv 2103.14030",
        size=224,
        parameters=28_288_354,
        multiply_adds=4.491e9,
        top1=81.376,
        top1_size=224,
        source=TIMM,
        licence="mit",
        words="A transformer that attends within windows, which shift from layer to layer.",
    ),
    "CoAtNet": Family(
        member="coatnet_nano_rw_224",
        weights="sw_in1k",
        year=2021,
        paper="Dai et al. 2021, arXiv 2106.04803; this variant is timm's",
        size=224,
        parameters=15_141_244,
        multiply_adds=2.383e9,
        top1=81.698,
        top1_size=224,
        source=TIMM,
        licence="apache-2.0",
        words="Convolutions in the early stages, attention in the late ones.",
    ),
    "ConvNeXt": Family(
        member="convnext_atto",
        weights="d2_in1k",
        year=2022,
        paper="Liu et al. 2022, arXiv 2201.03545; this small variant is timm's",
        size=224,
        parameters=3_695_520,
        multiply_adds=547e6,
        top1=77.008,
        top1_size=288,
        source=TIMM,
        licence="apache-2.0",
        words="A convolutional network with the proportions and the training of a transformer.",
    ),
}


PACKAGED_TOP1 = {"efficientnet_lite0": 75.1, "efficientnet_lite1": 76.7, "efficientnet_lite2": 77.6}
"""Percent, of the packaged weights in float32, by those who trained them."""
PACKAGED_SOURCE = "TensorFlow TPU models, efficientnet/lite/README.md"


@dataclass(frozen=True)
class Published:
    """What somebody says that a network scores.

    Attributes:
        top1: percent of ImageNet-1k's validation images, one crop of each.
        size: side of the pictures in pixels.
        weights: which weights: timm's tag or torchvision's name.
        source: who says so.
        licence: of the weights.
    """

    top1: float
    size: int
    weights: str
    source: str
    licence: str


def published(name: str) -> tuple[Published, ...]:
    """What is known here of an architecture's published weights; loads torchvision, whose records list its own.

    Args:
        name: packaged name, or architecture; a tag (``resnet50.tv_in1k``) keeps what is published of these weights only.
    """
    import math

    import torchvision

    from visum.models.weights import PACKAGED

    if name in PACKAGED:
        known = PACKAGED[name]
        return (Published(PACKAGED_TOP1[name], known.size, "packaged", PACKAGED_SOURCE, known.licence),)
    plain, _, tag = name.partition(".")
    found = [
        Published(each.top1, each.top1_size, each.weights, each.source, each.licence)
        for each in FAMILIES.values()
        if each.member == plain
    ]
    if plain in torchvision.models.list_models(module=torchvision.models):
        for weights in torchvision.models.get_model_weights(plain):
            top1 = weights.meta["_metrics"].get("ImageNet-1K", {}).get("acc@1", math.nan)
            if not math.isnan(top1) and all(abs(top1 - each.top1) > 0.005 for each in found):
                size = weights.transforms.keywords["crop_size"]
                found.append(Published(top1, size, weights.name, TORCHVISION, NO_CLAIM))
    return tuple(each for each in found if not tag or each.weights == tag)


def family_of(architecture: str) -> str:
    """The family that an architecture is the member of, or ""; a tag (``resnet50.tv_in1k``) makes no difference."""
    plain = architecture.partition(".")[0]
    return next((name for name, family in FAMILIES.items() if family.member == plain), "")
