"""How bright each tissue is after gadolinium on T1 and on T2, relative to normal white matter on each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .skull_base import Tissue

Array = NDArray[np.float32]

#: White matter = 1 on ceT1w; on T2w, fluid is about 2.7 times grey matter, as on the heavily weighted sequences for
#: the canals. Values read off public images and the brief tables of the field; ours.
_CET1 = {
    Tissue.AIR: 0.02, Tissue.SKIN: 0.95, Tissue.FAT: 1.75, Tissue.MUSCLE: 0.62, Tissue.BONE: 0.10,
    Tissue.MARROW: 1.05, Tissue.CSF: 0.28, Tissue.GREY: 0.76, Tissue.WHITE: 1.0, Tissue.BRAINSTEM: 0.94,
    Tissue.NERVE: 0.80, Tissue.LABYRINTH: 0.32, Tissue.SINUS: 1.55, Tissue.ARTERY: 0.35, Tissue.DURA: 0.85,
    Tissue.MUCOSA: 1.45, Tissue.GLOBE: 0.34, Tissue.CHOROID: 1.40, Tissue.TUMOUR: 1.6, Tissue.CYST: 0.45,
    Tissue.RIM: 1.25,
}  # fmt: skip
_T2 = {
    Tissue.AIR: 0.02, Tissue.SKIN: 0.50, Tissue.FAT: 0.85, Tissue.MUSCLE: 0.22, Tissue.BONE: 0.07,
    Tissue.MARROW: 0.55, Tissue.CSF: 1.60, Tissue.GREY: 0.58, Tissue.WHITE: 0.42, Tissue.BRAINSTEM: 0.43,
    Tissue.NERVE: 0.45, Tissue.LABYRINTH: 1.55, Tissue.SINUS: 0.18, Tissue.ARTERY: 0.08, Tissue.DURA: 0.25,
    Tissue.MUCOSA: 0.95, Tissue.GLOBE: 1.60, Tissue.CHOROID: 0.75, Tissue.TUMOUR: 0.62, Tissue.CYST: 1.50,
    Tissue.RIM: 0.40,
}  # fmt: skip
TABLES = {"ceT1w": _CET1, "T2w": _T2}
#: Texture of each tissue: relative standard deviation of its brightness within the tissue.
_TEXTURE = {
    Tissue.MUSCLE: 0.14, Tissue.FAT: 0.10, Tissue.MARROW: 0.22, Tissue.GREY: 0.05, Tissue.WHITE: 0.04,
    Tissue.BRAINSTEM: 0.04, Tissue.TUMOUR: 0.09, Tissue.MUCOSA: 0.15, Tissue.SKIN: 0.08, Tissue.CSF: 0.03,
    Tissue.SINUS: 0.12, Tissue.DURA: 0.25,
}  # fmt: skip


@dataclass(frozen=True)
class Latent:
    """What one patient's tissues are like, the same for every sequence and every exam.

    Attributes:
        enhancement: Brightness of the tumour on ceT1w.
        t2_signal: Brightness of the solid tumour on T2w: hypercellular tumours are dark, loose ones bright.
        heterogeneity: Factor on the tumour's texture.
        cysts: Centres (relative to the tumour, in units of its radius) and radii of cysts, ``(cyst, 4)``.
        tissue_shift: Log brightness of each tissue relative to the table, ``(tissue,)``.
    """

    enhancement: float
    t2_signal: float
    heterogeneity: float
    cysts: Array
    tissue_shift: Array


def draw_latent(rng: np.random.Generator, volume_ml: float) -> Latent:
    """Draw a patient. Large tumours have cysts more often; about one in six in all."""
    n_cysts = int(rng.integers(1, 4)) if rng.random() < np.clip(0.05 + 0.07 * volume_ml, 0, 0.5) else 0
    cysts = np.zeros((n_cysts, 4), dtype=np.float32)
    cysts[:, :3] = rng.uniform(-0.5, 0.5, (n_cysts, 3))
    cysts[:, 3] = rng.uniform(0.2, 0.5, n_cysts)
    # A loose, bright tumour on T2 enhances a little less evenly: one latent moves both.
    looseness = rng.normal()
    return Latent(
        enhancement=float(np.clip(rng.normal(1.62 - 0.05 * looseness, 0.16), 1.3, 2.0)),
        t2_signal=float(np.clip(rng.normal(0.62 + 0.07 * looseness, 0.06), 0.45, 0.85)),
        heterogeneity=float(np.clip(rng.normal(1.0 + 0.25 * looseness, 0.3), 0.4, 2.2)),
        cysts=cysts,
        tissue_shift=rng.normal(0, 0.04, len(Tissue)).astype(np.float32),
    )


def brightness(
    label: NDArray[np.uint8], noise: Array, modality: str, latent: Latent, site_shift: Array | None = None
) -> Array:
    """Noise-free signal of every voxel.

    Args:
        label: Tissue of each voxel, any shape.
        noise: Texture of unit variance, the same shape.
        modality: ``ceT1w`` or ``T2w``.
        latent: The patient.
        site_shift: Log brightness of each tissue at this scanner, ``(tissue,)``.
    """
    table = np.array([TABLES[modality][kind] for kind in Tissue], dtype=np.float32)
    table[Tissue.TUMOUR] = latent.enhancement if modality == "ceT1w" else latent.t2_signal
    shift = latent.tissue_shift if site_shift is None else latent.tissue_shift + site_shift
    table = table * np.exp(shift)
    texture = np.array([_TEXTURE.get(kind, 0.0) for kind in Tissue], dtype=np.float32)
    texture[Tissue.TUMOUR] *= latent.heterogeneity
    return np.asarray(table[label] * (1 + texture[label] * noise), dtype=np.float32)
