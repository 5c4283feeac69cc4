"""The one place that knows TensorFlow or JAX: devices, precision, one step of learning, and that all repeats itself."""

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

_DEFAULTS = {
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
"""Environment variables that both libraries read when imported; the user's own settings win."""

for _name, _value in _DEFAULTS.items():
    os.environ.setdefault(_name, _value)

import keras  # noqa: E402 - Keras chooses its back end when it is imported
import numpy as np  # noqa: E402
from keras import ops  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

__all__ = [
    "Batch",
    "Inputs",
    "Learn",
    "Sizes",
    "Tensor",
    "configure",
    "input_gradient",
    "learner",
    "prepare",
    "replicas",
    "scope",
]

Tensor = Any
"""A tensor of whichever back end Keras runs on."""
Inputs = dict[str, NDArray[Any]]
Batch = tuple[Inputs, NDArray[np.float32]]
"""A network's inputs by name, and the targets of its loss."""
Loss = Callable[[Tensor, Tensor], Tensor]
"""Called as `loss(targets, outputs)`."""
Sizes = NDArray[np.float32] | None
Learn = Callable[[Iterable[Batch]], list[float]]
"""Learns from batches, one step each, and returns their losses."""

_LEAST_BFLOAT16_CAPABILITY = (8, 0)
"""Compute capability of the first NVIDIA chips that multiply 16-bit brain floats (Ampere)."""


def prepare(seed: int) -> None:
    """Start afresh: forget the state of earlier models, and make all that follows repeat itself for the same seed."""
    configure()
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)


@cache
def configure() -> None:
    """Set up the back end once a process, before it touches a device.

    Where there are several GPUs, each gets a share of every batch. GPUs that can do so multiply 16-bit numbers;
    weights and outputs keep 32 bits.
    """
    match keras.config.backend():
        case "tensorflow":
            _configure_tensorflow()
        case "jax":
            _configure_jax()
    if _multiplies_bfloat16():
        keras.config.set_dtype_policy("mixed_bfloat16")


def scope() -> AbstractContextManager[Any]:
    """Return the scope in which a network and its optimizer are to be made, so that every device has a copy."""
    strategy = _strategy()
    return strategy.scope() if strategy else nullcontext()


def replicas() -> int:
    """Return how many devices share a batch; its size must be a multiple of it."""
    strategy = _strategy()
    if strategy:
        return int(strategy.num_replicas_in_sync)
    mesh = keras.distribution.distribution()
    return int(np.prod(mesh.device_mesh.shape)) if mesh else 1


def learner(network: keras.Model, optimizer: keras.Optimizer, loss: Loss, adversarial: Sizes = None) -> Learn:
    """Return a function that takes a compiled step of gradient descent for each batch.

    With adversarial sizes, one a column of the input `context`, each step learns from the batch and, half and half,
    from its worst neighbour: each column moved by its size in the direction of the gradient's sign (fast gradient sign
    method: Goodfellow et al., Explaining and Harnessing Adversarial Examples, 2015, arXiv:1412.6572).
    """
    make = _tensorflow_learner if keras.config.backend() == "tensorflow" else _jax_learner
    return make(network, optimizer, loss, adversarial)


def input_gradient(score: Callable[[Tensor], Tensor], inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the gradient of a scalar score with respect to its inputs, of their shape."""
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        tensor = tf.convert_to_tensor(inputs)
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            value = score(tensor)
        return ops.convert_to_numpy(tape.gradient(value, tensor))
    import jax

    return np.asarray(jax.grad(score)(inputs))


def _tensorflow_learner(network: keras.Model, optimizer: keras.Optimizer, loss: Loss, adversarial: Sizes) -> Learn:
    import tensorflow as tf

    strategy = _strategy()
    share = 1.0 / replicas()

    def total(inputs: dict[str, Tensor], targets: Tensor) -> Tensor:
        return loss(targets, network(inputs, training=True)) * share

    def attacked(inputs: dict[str, Tensor], targets: Tensor) -> dict[str, Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(inputs["context"])
            value = total(inputs, targets)
        return _moved(inputs, tape.gradient(value, inputs["context"]), adversarial)

    def one(inputs: dict[str, Tensor], targets: Tensor) -> Tensor:
        worse = attacked(inputs, targets) if adversarial is not None else None
        with tf.GradientTape() as tape:
            value = total(inputs, targets)
            if worse is not None:
                value = (value + total(worse, targets)) / 2
        weights = network.trainable_weights
        optimizer.apply(tape.gradient(value, weights), weights)
        return value

    if not strategy:
        step = tf.function(one, jit_compile=_JIT_TENSORFLOW)
        return lambda batches: [float(loss) for loss in [step(*_tensors(tf, batch)) for batch in batches]]

    def everywhere(inputs: dict[str, Tensor], targets: Tensor) -> Tensor:
        return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(one, (inputs, targets)), axis=None)

    compiled = tf.function(everywhere)

    def shared(values: NDArray[Any]) -> Any:  # noqa: ANN401 - one value a device
        parts = np.split(values, replicas())
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group])
        )

    def learn(batches: Iterable[Batch]) -> list[float]:
        spread = (
            ({name: shared(values) for name, values in inputs.items()}, shared(targets)) for inputs, targets in batches
        )
        return [float(compiled(*batch)) for batch in spread]

    return learn


_JIT_TENSORFLOW = bool(int(os.environ.get("EJIT", "0")))


def _tensors(tf: Any, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:  # noqa: ANN401 - the module
    inputs, targets = batch
    return {name: tf.constant(values) for name, values in inputs.items()}, tf.constant(targets)


def _jax_learner(network: keras.Model, optimizer: keras.Optimizer, loss: Loss, adversarial: Sizes) -> Learn:
    import jax

    def total(trainable: Any, rest: Any, inputs: dict[str, Tensor], targets: Tensor) -> tuple[Tensor, Any]:  # noqa: ANN401
        outputs, rest = network.stateless_call(trainable, rest, inputs, training=True)
        return loss(targets, outputs), rest

    def context_loss(context: Tensor, trainable: Any, rest: Any, inputs: Any, targets: Tensor) -> Tensor:  # noqa: ANN401
        return total(trainable, rest, inputs | {"context": context}, targets)[0]

    def both(trainable: Any, rest: Any, inputs: Any, worse: Any, targets: Tensor) -> tuple[Tensor, Any]:  # noqa: ANN401
        true, rest = total(trainable, rest, inputs, targets)
        false, rest = total(trainable, rest, worse, targets)
        return (true + false) / 2, rest

    def step(state: tuple[Any, Any, Any], inputs: dict[str, Tensor], targets: Tensor) -> tuple[Any, Tensor]:
        trainable, rest, learning = state
        if adversarial is not None:
            slope = jax.grad(context_loss)(inputs["context"], trainable, rest, inputs, targets)
            worse = _moved(inputs, slope, adversarial)
            (value, rest), slopes = jax.value_and_grad(both, has_aux=True)(trainable, rest, inputs, worse, targets)
        else:
            (value, rest), slopes = jax.value_and_grad(total, has_aux=True)(trainable, rest, inputs, targets)
        trainable, learning = optimizer.stateless_apply(learning, slopes, trainable)
        return (trainable, rest, learning), value

    compiled = jax.jit(step)
    variables = (network.trainable_variables, network.non_trainable_variables, optimizer.variables)

    def learn(batches: Iterable[Batch]) -> list[float]:
        state: Any = tuple([variable.value for variable in group] for group in variables)
        losses = []
        for inputs, targets in batches:
            state, value = compiled(state, {name: _shared(values) for name, values in inputs.items()}, _shared(targets))
            losses.append(value)
        for group, values in zip(variables, state, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)
        return [float(value) for value in losses]

    return learn


def _moved(inputs: dict[str, Tensor], slope: Tensor, sizes: Sizes) -> dict[str, Tensor]:
    """Return the inputs with the context moved against the network, where it holds something at all."""
    context = inputs["context"]
    return inputs | {"context": context + sizes * ops.sign(slope) * ops.cast(context != 0, context.dtype)}


def _shared(values: NDArray[Any]) -> Tensor:
    """Return the values spread over the devices that share a batch."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return values
    return keras.distribution.distribute_tensor(
        ops.convert_to_tensor(values), distribution.get_data_layout(values.shape)
    )


def _configure_tensorflow() -> None:
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, enable=True)


def _configure_jax() -> None:
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    import jax

    if len(jax.devices()) > 1:
        keras.distribution.set_distribution(keras.distribution.DataParallel())


@cache
def _strategy() -> Any:  # noqa: ANN401 - TensorFlow's strategy, or None
    """Return what copies variables to all of TensorFlow's devices, or None where there is but one."""
    if keras.config.backend() != "tensorflow":
        return None
    import tensorflow as tf

    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices]) if len(devices) > 1 else None


def _multiplies_bfloat16() -> bool:
    """Return whether the first GPU, where there is one, is new enough for 16-bit brain floats."""
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
        return details.get("compute_capability", (0, 0)) >= _LEAST_BFLOAT16_CAPABILITY
    import jax

    device = jax.devices()[0]
    if device.platform != "gpu":
        return False
    return tuple(int(part) for part in device.compute_capability.split(".")) >= _LEAST_BFLOAT16_CAPABILITY
