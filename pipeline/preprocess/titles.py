"""What titles say of items: vectors in which items of like words lie close together, and clusters of them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

__all__ = ["TITLE_TRAITS", "title_clusters", "title_vectors"]

TITLE_TRAITS = 12
"""Length of a title's vector."""
_LEAST_ITEMS = 60
"""With fewer items, words hardly come again."""
_LEAST_TITLES_A_WORD = 4
_ITEMS_A_CLUSTER = 20
_MOST_CLUSTERS = 25
_WORD = r"[^\W\d_]{3,}"
"""Three letters or more."""
_SEED = 0
"""Always the same one: the same titles lie in the same places every night."""


def title_vectors(titles: Sequence[str]) -> NDArray[np.float32]:
    """Return each title's vector `[S, TITLE_TRAITS]`, of no width where there are too few titles or words.

    The vectors are the leading singular vectors of the titles' weighted words (latent semantic analysis: Deerwester et
    al., Journal of the American Society for Information Science 41(6), 1990).
    """
    nothing = np.zeros((len(titles), 0), np.float32)
    if len({title for title in titles if title}) < _LEAST_ITEMS:
        return nothing
    words = TfidfVectorizer(min_df=_LEAST_TITLES_A_WORD, token_pattern=_WORD)
    try:
        weights = words.fit_transform(titles)
    except ValueError:
        return nothing  # no word stands in that many titles
    if weights.shape[1] <= TITLE_TRAITS:
        return nothing
    return np.asarray(TruncatedSVD(TITLE_TRAITS, random_state=_SEED).fit_transform(weights), np.float32)


def title_clusters(vectors: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return a cluster of each vector, numbered from the largest `[S, D]` -> `[S]`.

    (k-means on directions: Dhillon and Modha, Concept Decompositions for Large Sparse Text Data, Machine Learning 42,
    2001.)
    """
    length = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    clusters = int(np.clip(len(vectors) // _ITEMS_A_CLUSTER, 2, _MOST_CLUSTERS))
    found = KMeans(clusters, n_init=3, random_state=_SEED).fit_predict(vectors / length)
    order = np.argsort(-np.bincount(found, minlength=clusters), kind="stable")
    return np.argsort(order)[found]
