"""Classical baselines: a descriptor of each picture, and a classifier of the vectors.

What a network is worth is only known beside what needs none. All that a classifier has learnt is a dict of arrays, so that a
classical winner is a bundle like any other.

    vectors = np.stack([DESCRIPTORS["hog"].function(picture) for picture in pictures])
    arrays = CLASSIFIERS["rbf_svm"].fit(vectors, labels, classes, seed)
    logits = CLASSIFIERS["rbf_svm"].logits(arrays, others)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from visum.models.classical import bayes, forest, linear, neighbours, svm
from visum.models.classical.classes import Classifier, whole
from visum.models.classical.descriptors import colour_histogram, lbp
from visum.models.classical.gabor import gabor
from visum.models.classical.hog import hog
from visum.models.classical.sift import WORDS, bag_of_words, codebook, dense
from visum.types import Floats, Pixels

__all__ = ["CLASSIFIERS", "DESCRIPTORS", "LADDER", "Classifier", "Descriptor", "bag_of_words", "codebook"]


@dataclass(frozen=True)
class Descriptor:
    """A way to describe a picture by numbers.

    Attributes:
        size: side of the square that the picture is fitted to.
        function: uint8 ``[size, size, 3]`` RGB -> float32 ``[D]``, pure and safe in threads. With ``words``, it gives the local
            vectors ``[P, 128]`` of a picture, and ``bag_of_words(picture, codebook)`` is the description.
        version: raised whenever the numbers change, so that stored ones are not mixed with new ones.
        words: size of the codebook; 0 where none is needed.
    """

    size: int
    function: Callable[[Pixels], Floats]
    version: int = 1
    words: int = 0


DESCRIPTORS: dict[str, Descriptor] = {
    "colour_histogram": Descriptor(64, colour_histogram),
    "lbp": Descriptor(64, lbp),
    "hog": Descriptor(64, hog),
    "gabor": Descriptor(64, gabor),
    "sift": Descriptor(128, dense, words=WORDS),
}

CLASSIFIERS: dict[str, Classifier] = {
    "linear_svm": whole(linear.linear_svm, linear.logits),
    "rbf_svm": whole(svm.fit, svm.logits, lambda: svm.MOST_ROWS),
    "random_forest": whole(forest.fit, forest.logits, lambda: forest.MOST_ROWS),
    "knn": whole(neighbours.fit, neighbours.logits, lambda: neighbours.MOST_ROWS),
    "naive_bayes": whole(bayes.fit, bayes.logits),
    "logistic": whole(linear.logistic, linear.logits),
}

LADDER: tuple[tuple[str, str], ...] = (("colour_histogram", "knn"), ("hog", "rbf_svm"))
"""(descriptor, classifier) pairs that every run tries, for they cost seconds: what colours alone tell, and the best of 30
pairs on photos of garments (76 % of validation images; gabor + rbf_svm 74 %, sift + rbf_svm 72 %)."""
