"""The one place that knows TensorFlow or JAX: which back end runs, on how many threads, and that it repeats itself."""

import os
from functools import cache

_DEFAULTS = {
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
"""Environment variables that both libraries read when imported; the user's own settings win."""

for _name, _value in _DEFAULTS.items():
    os.environ.setdefault(_name, _value)

import keras  # noqa: E402 - Keras chooses its back end when it is imported

__all__ = ["configure", "prepare"]


def prepare(seed: int) -> None:
    """Start afresh: forget the state of earlier models, and make all that follows repeat itself for the same seed."""
    configure()
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)


@cache
def configure() -> None:
    """Set up the back end once a process, before it touches a device."""
    match keras.config.backend():
        case "tensorflow":
            _configure_tensorflow()
        case "jax":
            flags = os.environ.get("XLA_FLAGS", "")
            os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()


def _configure_tensorflow() -> None:
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, enable=True)
