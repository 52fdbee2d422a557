"""Every reader and the smallest valid files for it: what the fuzzer damages.

A target is a function that writes valid files into a folder, one that reads a file, and a weight: how many of 1,000
mutated inputs it gets.
"""

import contextlib
import io
import zipfile
from collections import namedtuple
from datetime import datetime

import numpy as np
from neurotwin.config import compose, load_config, recorded
from neurotwin.contracts import CircuitRecording, Event, Volume
from neurotwin.datamodules.formats import (
    bonn_text,
    chbmit_summary,
    circuit_files,
    clamp_files,
    edf,
    montage,
    szcore_tsv,
    volume_files,
)
from neurotwin.datamodules.formats import timeseries as series
from neurotwin.gates import check_targets
from neurotwin.provenance import new_record
from neurotwin.run_folder import Run, claim, load_run, runs
from neurotwin.terminal import print_rows, run_row
from scipy.io import savemat

from datamodules import fixtures

Target = namedtuple("Target", "make read weight")
_RNG = np.random.default_rng(0)
_SERIES = fixtures.bold(12, 3)
EDF_READER = edf.EDFReader.of(montage.DOUBLE_BANANA, 128.0, None, None)


def _bonn_text(folder):
    fixtures.write_bonn_text(folder / "Z001.txt", fixtures.noise(1, 60)[0])


def _bonn_zip(folder):
    text = "\n".join(str(round(v)) for v in fixtures.noise(1, bonn_text.N_SAMPLES)[0])
    with zipfile.ZipFile(folder / "Z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Z001.txt", text)


def _bonn_npz(folder):
    np.savez_compressed(folder / "bonn.npz", **{k: np.round(fixtures.noise(1, 4097)).astype("i2") for k in "ZONFS"})


def _read_bonn(path):
    for file in bonn_text.find_bonn(path.parent):
        file.signal()


def _edf(folder):
    signal = fixtures.noise(len(fixtures.CHBMIT_CHANNELS), 512)
    fixtures.write_edf(folder / "a.edf", fixtures.CHBMIT_CHANNELS, signal, 256)


def _szcore(folder):
    szcore_tsv.write_szcore_tsv(
        folder / "a.tsv", [Event(8.0, 16.0, "sz"), Event(30.0, 5.0, "sz", 0.5)], 60, datetime(2020, 1, 1)
    )


def _summary(folder):
    (folder / "chb01-summary.txt").write_text(fixtures.summary_text("chb01", {"01": [], "02": [(10, 30), (50, 60)]}))


def _text_1d(folder):
    fixtures.write_1d(folder / "a.1D", _SERIES)


def _table(folder):
    np.savetxt(folder / "a.csv", _SERIES, delimiter=",", header="w,x,y", comments="")


def _tsv(folder):
    np.savetxt(folder / "a.tsv", _SERIES, delimiter="\t")


def _npz(folder):
    np.savez(folder / "a.npz", timeseries=_SERIES, names=list("wxy"), tr_s=2.0)


def _npy(folder):
    np.save(folder / "a.npy", _SERIES)


def _mat(folder):
    savemat(folder / "a.mat", {"tc": _SERIES})


def _cifti(folder):
    from nibabel.cifti2 import Cifti2Header, Cifti2Image, ParcelsAxis, SeriesAxis

    voxels = [np.array([[k, 0, 0]]) for k in range(3)]
    parcels = ParcelsAxis(["a", "b", "c"], voxels, [{}] * 3, affine=np.eye(4), volume_shape=(9, 9, 9))
    header = Cifti2Header.from_axes((SeriesAxis(0, 0.72, len(_SERIES), "SECOND"), parcels))
    Cifti2Image(_SERIES, header).to_filename(folder / "a.ptseries.nii")


def _circuit():
    return CircuitRecording("a", 1e4, _RNG.normal(-50, 5, (40, 2)), _RNG.normal(0, 1, (40, 2)), None)


def _circuit_mat(folder):
    from neurotwin.simulators.half_center import write_mat

    write_mat(folder / "a.mat", _circuit())


def _circuit_csv(folder):
    trial = _circuit()
    np.savetxt(folder / "a.csv", np.c_[trial.voltage, trial.current], delimiter=",", header="V1,V2,I1,I2", comments="")


def _circuit_npz(folder):
    trial = _circuit()
    np.savez(folder / "a.npz", V1=trial.voltage[:, 0], I1=trial.current[:, 0])


def _clamp():
    return {"t": np.arange(40) * 0.1, "V_mV": _RNG.normal(-60, 5, 40), "I_pA": _RNG.normal(0, 50, 40)}


def _clamp_csv(folder):
    np.savetxt(folder / "a.csv", np.c_[tuple(_clamp().values())], delimiter=",", header=",".join(_clamp()), comments="")


def _clamp_npz(folder):
    np.savez(folder / "a.npz", **_clamp())


def _clamp_mat(folder):
    savemat(folder / "a.mat", _clamp())


def _nwb(folder):
    from datetime import UTC

    from pynwb import NWBHDF5IO, NWBFile
    from pynwb.icephys import CurrentClampSeries, CurrentClampStimulusSeries

    file = NWBFile("a", "a", datetime(2020, 1, 1, tzinfo=UTC))
    electrode = file.create_icephys_electrode("e", description="e", device=file.create_device("d"))
    common = {"electrode": electrode, "rate": 1e4, "gain": 1.0, "sweep_number": np.uint64(0)}
    file.add_acquisition(CurrentClampSeries(name="r0", data=_clamp()["V_mV"] / 1e3, **common))
    file.add_stimulus(CurrentClampStimulusSeries(name="s0", data=_clamp()["I_pA"] / 1e12, **common))
    with NWBHDF5IO(str(folder / "a.nwb"), "w") as out:
        out.write(file)


def _abf(folder):
    from pyabf import abfWriter

    abfWriter.writeABF1(np.tile(_RNG.normal(-60, 5, 1000), (1, 3)), str(folder / "a.abf"), 1e4, units="mV")
    np.save(folder / "b.npy", np.c_[np.arange(3000) * 0.1, _RNG.normal(0, 1, 3000)])


def _read_abf(path):
    clamp_files.read_clamp(path, path.with_name("b.npy"), clamp_files.ClampFormat(current_unit="nA"))


def _ibw(folder):
    """Version 5 of Igor's binary waves: two headers, then float32 samples; one file of voltage, one of current."""
    for name, unit in (("V", b"mV"), ("W", b"pA")):
        samples = _RNG.normal(-60, 5, 40).astype("<f4").tobytes()
        header, wave = bytearray(64), bytearray(320)
        wave[12:16] = wave[68:72] = (40).to_bytes(4, "little")  # points, and along the first dimension
        wave[16:18] = (2).to_bytes(2, "little")  # float32
        wave[28:29] = name.encode()
        wave[84:92] = np.float64(1e-4).tobytes()  # step, s
        wave[148:150] = unit
        header[0:2] = (5).to_bytes(2, "little")
        header[4:8] = (320 + len(samples)).to_bytes(4, "little")
        total = int(np.frombuffer(bytes(header + wave), "<i2").sum())
        header[2:4] = (-total & 0xFFFF).to_bytes(2, "little")  # checksum
        (folder / f"{name}.ibw").write_bytes(bytes(header + wave) + samples)


def _volume():
    return Volume(_RNG.integers(0, 900, (6, 7, 5)).astype("i2"), np.diag([1.0, 1.0, 1.5, 1.0]), "a")


def _nifti(folder):
    volume_files.write_volume(folder / "a.nii", _volume().data, _volume().affine)


def _nifti_gz(folder):
    volume_files.write_volume(folder / "a.nii.gz", _volume().data, _volume().affine)


def _itk(ending):
    def write(folder):
        import SimpleITK as sitk

        sitk.WriteImage(sitk.GetImageFromArray(_volume().data), str(folder / f"a{ending}"))

    return write


def _dicom(folder):
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(_volume().data[:1])
    for key, value in (("0020|000d", "1.2.3"), ("0020|000e", "1.2.3.4"), ("0020|0032", r"0\0\0"), ("0008|0060", "MR")):
        image.SetMetaData(key, value)
    with fixtures.kept_locale():
        sitk.WriteImage(image, str(folder / "a.dcm"))


def _index(folder):
    fixtures.make_chbmit_clips(folder, cases=3)


def _read_index(path):
    from neurotwin.datamodules.chbmit_clips import CHBMITClipsDataModule

    CHBMITClipsDataModule(root=path.parent, folds=3, window_s=4.0).load()


def _row(folder):
    mine = folder / "experiments" / "mine"
    mine.mkdir(parents=True)
    lines = "# @package _global_\n# Mine\ndefaults:\n  - override /datamodule: simulated_eeg\n"
    lines += "  - override /model: seizure_net\n  - override /task: seizure_detection\n"
    lines += "seed: 3\nmodel:\n  dropout: 0.2\n  filters: [8, 8, 8]\ntrainer:\n  max_epochs: 2\ncheckpoint: last\n"
    (mine / "row.yaml").write_text(lines)


def _read_row(path):
    import os

    os.environ["NEUROTWIN_CONFIG_DIR"] = str(path.parents[2])
    try:
        check_targets(compose("mine/row"))
    finally:
        del os.environ["NEUROTWIN_CONFIG_DIR"]


def _overrides(folder):
    words = [
        "seed=1",
        "model.dropout=0.2",
        "trainer.max_epochs=2",
        "optimizer.lr=1e-3",
        "checkpoint=last",
        "model.filters=[8,8,8]",
    ]
    (folder / "overrides.txt").write_text("\n".join(words))


def _read_overrides(path):
    lines = path.read_bytes()[:4000].decode("utf-8", "replace").split("\n")
    check_targets(compose("mallick2024/demo", lines[:6]))


def _record(folder):
    run = Run(claim(folder, "a/b", 0))
    run.update(**new_record("a/b", 0, "x", ["seed=1"]), cost={"cpu_s": 1.0}, objective={"metric": "a", "value": 1.0})


def _read_record(path):
    with contextlib.redirect_stdout(io.StringIO()):
        print_rows([run_row(run) for run in runs(path.parents[3])])
    run = load_run(path.parent)
    assert isinstance(run.status, str)


def _config(folder):
    (folder / "config.yaml").write_text(compose("mallick2024/demo").to_yaml())


def _read_config(path):
    load_config(path)
    check_targets(recorded("mallick2024/demo", path))


#: Weights sum to about 1,000.
TARGETS = {
    "Bonn text": Target(_bonn_text, lambda path: bonn_text.read_bonn_text(path, None), 80),
    "Bonn zip": Target(_bonn_zip, _read_bonn, 25),
    "Bonn NPZ": Target(_bonn_npz, _read_bonn, 25),
    "EDF header": Target(_edf, edf.read_edf_header, 80),
    "EDF": Target(_edf, EDF_READER.prepare, 30),
    "SzCORE TSV": Target(_szcore, szcore_tsv.read_szcore_tsv, 80),
    "CHB-MIT summary": Target(_summary, chbmit_summary.read_summary, 80),
    "CHB-MIT clips index": Target(_index, _read_index, 20),
    "series .1D": Target(_text_1d, series.read_timeseries, 60),
    "series CSV": Target(_table, series.read_timeseries, 20),
    "series TSV": Target(_tsv, series.read_timeseries, 20),
    "series NPZ": Target(_npz, series.read_timeseries, 50),
    "series NPY": Target(_npy, series.read_timeseries, 50),
    "series MAT": Target(_mat, series.read_timeseries, 40),
    "series CIFTI": Target(_cifti, series.read_timeseries, 20),
    "circuit MAT": Target(_circuit_mat, lambda path: circuit_files.read_circuit(path, 1e4), 40),
    "circuit NPZ": Target(_circuit_npz, lambda path: circuit_files.read_circuit(path, 1e4), 40),
    "circuit CSV": Target(_circuit_csv, lambda path: circuit_files.read_circuit(path, 1e4), 40),
    "clamp CSV": Target(_clamp_csv, clamp_files.read_clamp, 20),
    "clamp NPZ": Target(_clamp_npz, clamp_files.read_clamp, 30),
    "clamp MAT": Target(_clamp_mat, clamp_files.read_clamp, 30),
    "clamp ABF": Target(_abf, _read_abf, 20),
    "clamp NWB": Target(_nwb, clamp_files.read_clamp, 4),
    "clamp IBW": Target(_ibw, lambda path: clamp_files.read_clamp(path, path.with_name("W.ibw")), 30),
    "NIfTI": Target(_nifti, volume_files.read_volume, 40),
    "NIfTI gz": Target(_nifti_gz, volume_files.read_volume, 20),
    "NRRD": Target(_itk(".nrrd"), volume_files.read_volume, 20),
    "MetaImage": Target(_itk(".mha"), volume_files.read_volume, 20),
    "DICOM": Target(_dicom, lambda path: volume_files.read_volume(path.parent), 10),
    "run record": Target(_record, _read_record, 40),
    "run config": Target(_config, _read_config, 4),
    "experiment YAML": Target(_row, _read_row, 4),
    "overrides": Target(_overrides, _read_overrides, 4),
}
