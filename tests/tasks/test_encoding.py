"""Responses to a stimulus: inter-subject correlation by its definition, the linear model, files, real listeners."""

import logging

import neurotwin
import numpy as np
import pytest
import torch
from datamodules.fixtures import make_listening
from neurotwin.datamodules.listening import ListeningDataModule
from neurotwin.errors import ConfigError, DataError, MissingDataError
from neurotwin.metrics.response_scores import score_responses
from neurotwin.models.encoding import LinearEncoding, MeanResponse


def test_the_mean_of_the_others_gives_the_inter_subject_correlation(tmp_path, run_root):
    given = {f"datamodule.{key}": value for key, value in make_listening(tmp_path / "data", 5).items()}
    given |= {"datamodule.folds": 5, "datamodule.val_fraction": 0, "trainer.accelerator": "cpu"}
    series = [np.loadtxt(tmp_path / "data" / "10mm" / f"s{k:02d}-timecourses.txt") for k in range(1, 6)]
    z = np.stack([(x - x.mean(0)) / x.std(0) for x in series])
    for fold in range(2):
        run = neurotwin.train("acker2024/listening", {**given, "datamodule.fold": fold})
        (person,) = run.predictions["window"]
        for region in range(6):
            others = np.delete(z, person, 0).mean(0)[:, region]
            expected = np.corrcoef(series[person][:, region], others)[0, 1]
            assert run.metrics[f"test/r_{region + 1}"] == pytest.approx(expected, abs=1e-5)
    assert [path.name for path in run.figures] == ["responses.png"]


def test_the_linear_model_finds_the_weights_that_made_the_data():
    generator = torch.Generator().manual_seed(0)
    stimulus, weight = torch.randn(4, 30, 2, generator=generator), torch.randn(2, 3, generator=generator)
    model = LinearEncoding(2, 3)
    model.fit(stimulus, stimulus @ weight)
    torch.testing.assert_close(model.weight, weight)
    torch.testing.assert_close(model(stimulus), stimulus @ weight)
    for empty in (MeanResponse(30, 3), LinearEncoding(2, 3)):
        with pytest.raises(ConfigError, match="is not fitted"):
            empty(stimulus)


def test_connectivity_of_the_responses_by_hand():
    time = np.arange(8)
    a, b = np.sin(time), np.cos(3 * time)
    series = np.stack([a, -a, b], 1)[None]
    scores = score_responses({"predicted": 2 * series + 1, "response": series})
    assert scores["r"] == pytest.approx(1)
    assert scores["fc_lowest"] == pytest.approx(-1)
    assert scores["fc_highest"] == pytest.approx(abs(np.corrcoef(a, b)[0, 1]))
    assert "fc_lowest" not in score_responses({"predicted": series[..., :1], "response": series[..., :1]})


def test_constant_listeners_are_left_out_and_bad_files_are_named(tmp_path, caplog):
    given = make_listening(tmp_path / "data")
    np.savetxt(tmp_path / "data" / "10mm" / "s03-timecourses.txt", np.ones((50, 6)))
    with caplog.at_level(logging.WARNING, "neurotwin"):
        people = ListeningDataModule(**given).people
    assert "s03 has a constant or missing series" in caplog.text
    assert len(people) == 7

    def fails(kind, match, root, **changed):
        with pytest.raises(kind, match=match):
            ListeningDataModule(**{**given, "root": root, **changed}).setup()

    fails(MissingDataError, "Brennan et al", tmp_path / "none")
    fails(MissingDataError, "6mm", tmp_path / "data", radius_mm=6)
    packed = {"responses": np.zeros((3, 9, 2)), "stimulus": np.zeros((3, 8, 1)), "subjects": list("abc")}
    np.savez(tmp_path / "short.npz", **packed)
    fails(DataError, "9 volumes of responses, 8 of the stimulus", tmp_path / "short.npz")
    np.savez(tmp_path / "flat.npz", **{**packed, "responses": np.zeros((3, 9))})
    fails(DataError, "do not fit", tmp_path / "flat.npz")
    np.savetxt(tmp_path / "data" / "10mm" / "s04-timecourses.txt", np.random.default_rng(0).random((40, 6)))
    fails(DataError, "7 usable listeners with 2 different shapes", tmp_path / "data")
    (tmp_path / "data" / "s05-rate.txt").unlink()
    fails(DataError, "s05-timecourses.txt: not readable with its stimulus", tmp_path / "data")


def test_real_listeners(data_root):
    """27 of 28 are usable; each region's leave-one-out correlation is near the one in the data's SOURCE."""
    datamodule = ListeningDataModule(data_root / "fmri" / "alice_story_rois", folds=27)
    responses = np.stack([response for _, response in datamodule.people.values()])
    assert responses.shape == (27, 362, 6)
    others = (responses.sum(0) - responses) / 26
    found = score_responses({"predicted": others, "response": responses})
    known = [0.28, 0.14, 0.39, 0.27, 0.19, 0.12]
    assert [found[f"r_{k}"] for k in range(1, 7)] == pytest.approx(known, abs=0.006)
