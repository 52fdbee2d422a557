"""The repeated unit of Mallick and Baths (2024): convolution, bidirectional LSTM, GRU and average pooling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .windows import require_window


class SeizureUnit(nn.Module):
    """One unit, ``h = AvgPool(GRU(BiLSTM(ReLU(BN(W * x)))))``; the recurrences and the pooling can be left out.

    Args:
        n_channels: Input channels.
        filters: Convolution filters.
        kernel_size: Convolution kernel, samples.
        stride: Convolution stride, samples.
        lstm_hidden: Hidden size of each LSTM direction; ``None`` leaves the LSTM out.
        gru_hidden: Hidden size of the GRU; ``None`` leaves the GRU out.
        pool: Samples averaged into one; 1 leaves the pooling out.
    """

    def __init__(
        self,
        n_channels: int,
        filters: int,
        kernel_size: int,
        stride: int,
        lstm_hidden: int | None,
        gru_hidden: int | None,
        pool: int,
    ):
        super().__init__()
        # Batch normalisation has a bias of its own; the convolution's stays, as the paper names no exception.
        self.conv = nn.Conv1d(n_channels, filters, kernel_size, stride, padding=kernel_size // 2)
        self.norm = nn.BatchNorm1d(filters)
        width = filters
        self.lstm = None
        if lstm_hidden is not None:
            self.lstm = nn.LSTM(width, lstm_hidden, batch_first=True, bidirectional=True)
            width = 2 * lstm_hidden
        self.gru = None
        if gru_hidden is not None:
            self.gru = nn.GRU(width, gru_hidden, batch_first=True)
            width = gru_hidden
        self.pool = nn.AvgPool1d(pool)
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channel, time)`` to ``(batch, width, time // (stride * pool))``."""
        x = torch.relu(self.norm(self.conv(x)))
        if self.lstm is not None or self.gru is not None:
            x = x.transpose(1, 2)
            if self.lstm is not None:
                x, _ = self.lstm(x)
            if self.gru is not None:
                x, _ = self.gru(x)
            x = x.transpose(1, 2)
        return self.pool(x)


class SeizureNet(nn.Module):
    r"""Units of convolution, BiLSTM, GRU and average pooling, stacked, then dense layers (Mallick & Baths 2024).

    .. math:: y = W_2\,\mathrm{ReLU}(W_1\,\mathrm{flatten}(h_n) + b_1) + b_2

    The order of the layers in a unit, the stacking and the dense layers are the paper's (Front. Comput. Neurosci.
    18:1340251). Every size is ours, chosen for the CPU: recurrences over long windows dominate the cost, and a strided
    first convolution is the cheap cure. An ablation is a config value: ``lstm=false``, ``gru=false``, ``pool=1``,
    ``n_units=1``.

    Args:
        n_channels: EEG channels.
        n_outputs: Classes.
        n_times: Samples in a window; sets the width of the first dense layer.
        n_units: Number of stacked units. A size below that is one number holds for every unit; a list gives one each,
            and a longer list is cut to its first ``n_units``.
        filters: Convolution filters.
        kernel_sizes: Convolution kernels, samples, odd.
        strides: Convolution strides, samples.
        lstm: Whether a unit has the bidirectional LSTM.
        lstm_hidden: Hidden size of each LSTM direction.
        gru: Whether a unit has the GRU.
        gru_hidden: Hidden size of the GRU.
        pool: Samples averaged into one at the end of a unit.
        dense: Widths of the hidden dense layers.
        dropout: Dropout after each hidden dense layer.

    Raises:
        ConfigError: A list has fewer than ``n_units`` entries, a size is not positive, or the window is too short.

    Example:
        >>> SeizureNet(n_channels=1, n_outputs=5, n_times=512)(torch.zeros(8, 1, 512)).shape
        torch.Size([8, 5])
    """

    def __init__(
        self,
        n_channels: int,
        n_outputs: int,
        n_times: int,
        n_units: int = 3,
        filters: int | Sequence[int] = (24, 32, 32),
        kernel_sizes: int | Sequence[int] = (15, 5, 3),
        strides: int | Sequence[int] = (8, 1, 1),
        lstm: bool = True,
        lstm_hidden: int | Sequence[int] = 16,
        gru: bool = True,
        gru_hidden: int | Sequence[int] = 32,
        pool: int | Sequence[int] = 4,
        dense: Sequence[int] = (64,),
        dropout: float = 0.3,
    ):
        super().__init__()
        if n_units < 1:
            raise ConfigError(f"SeizureNet: {n_units=} must be at least 1")
        sizes = {
            "filters": filters,
            "kernel_sizes": kernel_sizes,
            "strides": strides,
            "lstm_hidden": lstm_hidden,
            "gru_hidden": gru_hidden,
            "pool": pool,
        }
        per_unit = {name: _per_unit(name, value, n_units) for name, value in sizes.items()}
        self.n_channels = n_channels
        self.n_times = n_times
        length = _output_length(n_times, per_unit["kernel_sizes"], per_unit["strides"], per_unit["pool"])
        units: list[SeizureUnit] = []
        width = n_channels
        for i in range(n_units):
            unit = SeizureUnit(
                width,
                per_unit["filters"][i],
                per_unit["kernel_sizes"][i],
                per_unit["strides"][i],
                per_unit["lstm_hidden"][i] if lstm else None,
                per_unit["gru_hidden"][i] if gru else None,
                per_unit["pool"][i],
            )
            units.append(unit)
            width = unit.width
        self.units = nn.Sequential(*units)
        layers: list[nn.Module] = [nn.Flatten()]
        width *= length
        for size in dense:
            layers += [nn.Linear(width, size), nn.ReLU(), nn.Dropout(dropout)]
            width = size
        self.dense = nn.Sequential(*layers, nn.Linear(width, n_outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of windows.

        Args:
            x: EEG, ``(batch, channel, time)``, in the unit of the datamodule's scaling.

        Returns:
            Logits, ``(batch, n_outputs)``.
        """
        require_window("SeizureNet", x, self.n_channels, self.n_times)
        logits: Tensor = self.dense(self.units(x))
        return logits


def _per_unit(name: str, value: int | Sequence[int], n_units: int) -> list[int]:
    """One size for each unit, from one number for all or from a list."""
    values = [value] * n_units if isinstance(value, int) else list(value)
    if len(values) < n_units:
        raise ConfigError(
            f"SeizureNet: {name}={values} has {len(values)} entries for {n_units=}; give one number or one each"
        )
    if min(values[:n_units]) < 1:
        raise ConfigError(f"SeizureNet: {name}={values}: every entry must be at least 1")
    return values[:n_units]


def _output_length(n_times: int, kernels: list[int], strides: list[int], pools: list[int]) -> int:
    """Time steps after the last unit; an error that gives the least ``n_times`` where none is left."""

    def run(length: int) -> int:
        for kernel, stride, pool in zip(kernels, strides, pools, strict=True):
            length = ((length + 2 * (kernel // 2) - kernel) // stride + 1) // pool
        return length

    length = run(n_times)
    if length < 1:
        least = next(n for n in range(n_times + 1, 10**9) if run(n) >= 1)
        raise ConfigError(
            f"SeizureNet: {n_times=} is too short for strides={strides} and pool={pools}: at least {least} samples are "
            f"needed; lengthen the window or lower model.strides or model.pool"
        )
    return length
