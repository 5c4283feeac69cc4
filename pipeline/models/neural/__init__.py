"""Neural forecasters in Keras 3; importing this package chooses the back end before Keras can."""

from pipeline.models.neural import runtime

__all__ = ["runtime"]
