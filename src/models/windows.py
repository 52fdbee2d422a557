"""What models of EEG windows share."""

from __future__ import annotations

from torch import Tensor

from ..errors import ConfigError


def require_window(model: str, windows: Tensor, n_channels: int, n_times: int) -> None:
    """Refuse windows of another shape than the model was built for.

    Args:
        model: Name for the message.
        windows: ``(batch, channel, time)``.
        n_channels: Channels that the model was built for.
        n_times: Samples that the model was built for.

    Raises:
        ConfigError: With both shapes.
    """
    if windows.shape[1:] != (n_channels, n_times):
        raise ConfigError(
            f"{model}: got windows of {tuple(windows.shape[1:])} (channel, time), built for "
            f"({n_channels}, {n_times}); cut windows of that length or build the model anew"
        )
