"""What a dynamic clamp adds to living cells to make a half-center oscillator of two of them.

The equations and defaults of the RTXI module of the Marder laboratory (half_center_oscillator_rtxi_module; after Sharp,
Skinner & Marder 1996, J. Neurophysiol. 76:867). Each current is positive outward; the clamp injects
``-(I_syn + I_H + I_MI + I_leak)``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .gates import Form, Gate, TimeConstant

#: Synaptic thresholds that give release, or escape, of the inhibited cell, mV (Morozova et al. 2022, eLife 74363).
RELEASE_MV, ESCAPE_MV = -40.0, -50.0


@dataclass(frozen=True)
class DynamicClamp:
    """Constants of the artificial currents of one cell.

    ``I_syn = g_syn s (V - E_syn)`` where ``s`` follows the partner's voltage, ``I_H = g_H r (V - E_H)``,
    ``I_MI = g_MI m (V - E_MI)`` (modulator-activated inward current) and ``I_leak = g_leak (V - E_leak)``.

    Attributes:
        g_syn_us: µS.
        e_syn_mv: mV.
        tau_syn_ms: Time constant of ``s``, the same at every voltage.
        half_syn_mv: Voltage of the partner at which ``s`` settles at one half.
        slope_syn_mv: Negative: depolarisation of the partner opens.
        g_h_us: µS.
        e_h_mv: mV.
        half_h_mv: mV.
        slope_h_mv: Positive: hyperpolarisation opens.
        tau_h_ms: ``tau_r(V) = tau_h (1 + exp(-(V + 110) / 13))``.
        g_mi_us: µS.
        e_mi_mv: mV; half-activation -21 mV, slope 8 mV, 4 ms.
        g_leak_us: µS; negative to take away the leak of an electrode's puncture.
        e_leak_mv: mV.
    """

    g_syn_us: float = 0.0
    e_syn_mv: float = -80.0
    tau_syn_ms: float = 100.0
    half_syn_mv: float = -50.0
    slope_syn_mv: float = -2.0
    g_h_us: float = 0.0
    e_h_mv: float = -10.0
    half_h_mv: float = -50.0
    slope_h_mv: float = 7.0
    tau_h_ms: float = 3000.0
    g_mi_us: float = 0.0
    e_mi_mv: float = 0.0
    g_leak_us: float = 0.0
    e_leak_mv: float = -50.0

    @property
    def synapse(self) -> Gate:
        """Gate ``s`` of the synapse, a function of the presynaptic voltage."""
        return Gate(self.half_syn_mv, self.slope_syn_mv, TimeConstant(Form.SIGMOID, self.tau_syn_ms))

    @property
    def h(self) -> Gate:
        """Gate ``r`` of the hyperpolarisation-activated current."""
        tau = TimeConstant(Form.BELL, self.tau_h_ms, self.tau_h_ms, -110.0, 13.0, -1e9, -1.0)
        return Gate(self.half_h_mv, self.slope_h_mv, tau)

    @property
    def mi(self) -> Gate:
        """Gate ``m`` of the modulator-activated inward current."""
        return Gate(-21.0, -8.0, TimeConstant(Form.SIGMOID, 4.0))

    def scaled(self, synapse: float) -> DynamicClamp:
        """The same clamp with its synaptic conductance multiplied: 0 uncouples, 2 doubles."""
        return replace(self, g_syn_us=self.g_syn_us * synapse)
