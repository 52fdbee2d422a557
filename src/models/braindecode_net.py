"""Networks of the braindecode library under the names that neurotwin's data use."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from ..errors import ConfigError, did_you_mean

#: Arguments of every braindecode network that come from the data.
_FROM_DATA = frozenset({"n_chans", "n_outputs", "n_times", "sfreq", "chs_info", "input_window_seconds"})


def braindecode_net(
    architecture: str,
    n_channels: int,
    n_outputs: int,
    n_times: int,
    sampling_rate_hz: float,
    settings: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build a network of ``braindecode.models``; it maps ``(batch, channel, time)`` to logits ``(batch, class)``.

    Args:
        architecture: Class in ``braindecode.models``, for example ``EEGNet`` (Lawhern et al. 2018).
        n_channels: EEG channels.
        n_outputs: Classes.
        n_times: Samples in a window.
        sampling_rate_hz: Samples per second.
        settings: Arguments of that class, by its own names.

    Raises:
        ConfigError: braindecode is not installed, has no such network, or the network refuses the data or a setting.
    """
    try:
        from braindecode import models
    except (ImportError, OSError) as error:  # a torchaudio that was built for another torch is an OSError
        raise ConfigError(
            f"model.architecture={architecture!r} needs braindecode, which cannot be imported ({error}): "
            "pip install 'neurotwin[braindecode]', with torchaudio from the same index as torch"
        ) from error
    known = {name for name, value in vars(models).items() if inspect.isclass(value) and issubclass(value, nn.Module)}
    if architecture not in known:
        raise ConfigError(f"model.architecture={architecture!r}: {did_you_mean(architecture, known)}")
    network: type[nn.Module] = getattr(models, architecture)
    accepted = inspect.signature(network).parameters.keys() - _FROM_DATA
    for name in settings or {}:
        if name not in accepted:
            raise ConfigError(f"model.settings.{name} is no argument of {architecture}; {did_you_mean(name, accepted)}")
    data = {"n_chans": n_channels, "n_outputs": n_outputs, "n_times": n_times, "sfreq": sampling_rate_hz}
    try:
        return network(**data, **(settings or {}))
    except (ValueError, RuntimeError, TypeError) as error:
        raise ConfigError(
            f"model.architecture={architecture!r} cannot be built for {n_channels} channels of {n_times} samples "
            f"at {sampling_rate_hz:g} Hz: {' '.join(str(error).split())}"
        ) from error
