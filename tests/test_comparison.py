"""Paired comparisons of rows against SciPy and by hand, and the messages of a wrong paper.yaml."""

import numpy as np
import pytest
from neurotwin.comparison import check_comparisons, compare, merge, paired, render_comparisons
from neurotwin.errors import ConfigError
from scipy.stats import wilcoxon

ENTRY = {"title": "all", "rows": ["r/*"], "against": "r/base", "losses": ["mse"]}


@pytest.fixture
def losses():
    rng = np.random.default_rng(0)
    base = rng.gamma(5, 1, 40)
    rows = {"r/base": base, "r/better": base * 0.8 + rng.normal(0, 0.1, 40), "r/same": base + rng.normal(0, 1, 40)}
    return {name: {"mse": (np.arange(40), values)} for name, values in rows.items()}


def test_a_pair_against_scipy(losses):
    base, better = losses["r/base"]["mse"][1], losses["r/better"]["mse"][1]
    found = paired(better, base)
    assert found["p"] == wilcoxon(better, base).pvalue
    assert found["difference"] == pytest.approx(better.mean() / base.mean() - 1)
    assert found["low"] < found["difference"] < found["high"] < -0.15
    assert found["lower_in"] == np.mean(better < base)
    assert paired(base, base)["p"] == 1


def test_p_values_are_corrected_within_an_entry(losses):
    found = {result["row"]: result for result in compare([ENTRY], losses)}
    assert set(found) == {"r/better", "r/same"}
    assert found["r/better"]["p_corrected"] == pytest.approx(2 * found["r/better"]["p"])
    assert found["r/same"]["p_corrected"] == pytest.approx(found["r/same"]["p"])


def test_only_items_that_both_rows_tested_are_compared(losses):
    items, values = losses["r/better"]["mse"]
    losses["r/better"]["mse"] = items[5:] + 1, values[5:]
    result = next(r for r in compare([ENTRY], losses) if r["row"] == "r/better")
    assert result["n"] == 34
    expected = values[5:-1].mean() / losses["r/base"]["mse"][1][6:].mean() - 1
    assert result["difference"] == pytest.approx(expected)


def test_recorded_comparisons_stay_until_they_are_made_again(losses):
    before = compare([ENTRY], losses)
    again = [{**before[1], "p": 0.5}]
    kept = merge(before, again, ["r/base", "r/same", "r/better"], ["all"])
    assert [(r["row"], r["p"]) for r in kept] == [("r/same", 0.5), ("r/better", before[0]["p"])]
    assert merge(before, again, ["r/base", "r/better"], ["all"]) == [before[0]]
    text = render_comparisons(kept)
    assert text.startswith("#### all: against r/base\n")
    assert "| r/same | mse | " in text
    assert "of 40 | 0.5 |" in text


def test_wrong_entries_are_named():
    with pytest.raises(ConfigError, match="comparison 'all': no row 'r/bse'; did you mean 'r/base'"):
        check_comparisons([{**ENTRY, "against": "r/bse"}], ["r/base"], "paper.yaml")
    with pytest.raises(ConfigError, match="unknown key 'row'; did you mean 'rows'"):
        check_comparisons([{**ENTRY, "row": 1}], ["r/base"], "paper.yaml")
    with pytest.raises(ConfigError, match="has no losses"):
        check_comparisons([{k: v for k, v in ENTRY.items() if k != "losses"}], ["r/base"], "paper.yaml")
