"""Runs side by side: differences first, and no average over unequal configurations."""

import csv
import io

import pytest
from made_runs import make_run
from neurotwin import report
from neurotwin.errors import ConfigError
from neurotwin.reporting.compare import comparison


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROTWIN_RUNS", str(tmp_path))
    return tmp_path


def test_seeds_of_one_configuration_are_summarised_and_others_are_not(root):
    wide = [make_run(root, f"w{s}", seed=s, config={"width": 16}, metrics={"test/auroc": 0.8 + s / 10}) for s in (0, 1)]
    narrow = make_run(root, "n0", metrics={"test/auroc": 0.7})
    found = comparison([*wide, narrow])
    assert [group.label for group in found.groups] == ["width=16", "width=8"]
    assert found.settings == {"model.width": ("16", "8")}
    assert found.groups[0].metrics["test/auroc"].values == pytest.approx((0.8, 0.9))
    assert found.groups[1].metrics["test/auroc"].values == (0.7,)
    assert found.tables()[1].title == "What differs in the configurations", "differences stand before results"
    assert found.tables()[-1].rows[0][-1] == "-0.15"


def test_a_score_that_is_undefined_is_no_number(root):
    found = comparison([make_run(root, "a", metrics={"test/auroc": 0.7, "test/miss_rate": float("nan")})])
    assert list(found.groups[0].metrics) == ["test/auroc"]


def test_the_newest_of_two_runs_with_equal_seed_counts_once(root):
    old = make_run(root, "old", started="2026-01-01T00:00:00+00:00", metrics={"test/auroc": 0.1})
    new = make_run(root, "new", started="2026-01-02T00:00:00+00:00", metrics={"test/auroc": 0.9})
    assert comparison([new, old]).groups[0].metrics["test/auroc"].values == (0.9,)


def test_different_folds_are_different_quantities(root):
    found = comparison([make_run(root, "a", fold=0), make_run(root, "b", seed=1, fold=1)])
    assert [group.folds for group in found.groups] == [(0,), (1,)]
    assert found.settings == {"folds": ("0", "1")}


def test_other_code_is_named(root):
    git = {"commit": "1111111111111", "dirty": "abc"}
    found = comparison([make_run(root, "a"), make_run(root, "b", config={"width": 9}, git=git)])
    assert found.surroundings["commit"] == ("abcdef0123", "1111111111 + uncommitted changes")


def test_an_unfinished_run_is_shown_without_numbers(root):
    found = comparison([make_run(root, "a", status="failed")])
    assert found.groups[0].metrics == {}
    assert found.tables()[0].rows[0][2] == "failed"


def test_csv_has_a_row_a_run(root):
    make_run(root, "a", experiment="mallick2024/demo")
    make_run(root, "b", experiment="mallick2024/demo", seed=1, metrics={"test/auroc": 0.123456789, "test/ece": None})
    rows = list(csv.DictReader(io.StringIO(report(["mallick2024/demo"], format="csv"))))
    assert [row["seed"] for row in rows] == ["0", "1"]
    assert rows[1]["test/auroc"] == "0.123456789"
    assert rows[1]["test/ece"] == ""


def test_a_paper_is_shown_with_its_recorded_numbers(root):
    text = report(["mallick2024"])
    assert "### Bonn, five classes, accuracy over recordings" in text
    assert r"\toprule" in report(["mallick2024"], format="latex")


def test_unknown_subjects_get_the_nearest_name(root):
    with pytest.raises(ConfigError, match="did you mean 'mallick2024'"):
        report(["malick2024"])
    with pytest.raises(ConfigError, match="did you mean 'latex'"):
        report(["mallick2024"], format="latx")
    with pytest.raises(ConfigError, match="neurotwin train acker2024/demo"):
        report(["acker2024/demo"])


def test_page_holds_everything_and_escapes_what_it_is_given(root):
    make_run(root, "aaaa", figures=True)
    page = report(["aaaa"], format="html", output=root / "page.html").read_text(encoding="utf-8")
    assert "neurotwin train &lt;b&gt;paper&lt;/b&gt;" in page
    assert "<b>not bold" not in page.replace("<\\/script><b>not bold", ""), "only inside the figure's own JSON"
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert "Plotly" in page


def test_figure_of_a_run_by_name(root):
    from neurotwin.errors import NeurotwinError

    run = make_run(root, "aaaa", figures=True)
    assert run.figure("voltage").layout.meta["title"] == "Voltage"
    (run.path / "figures" / "change.json").unlink()
    with pytest.raises(NeurotwinError):
        run.figure("change")
