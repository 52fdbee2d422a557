"""Tables print what was measured, in every format."""

import csv
import io

import pytest
from neurotwin.tables import Stat, Table

TABLE = Table(
    head=("row", "ours", "a_b", "parameters"),
    rows=(("x & y", Stat((0.5, 0.6, 0.7)), 0.25, 4066), ("50 %", None, None, None)),
    title="Title",
    note="Note.",
)


def test_markdown_prints_mean_sd_and_number():
    lines = TABLE.markdown().splitlines()
    assert lines[0] == "### Title"
    assert lines[4] == "| x & y | 0.600 ± 0.100 (3) | 0.25 | 4,066 |"
    assert lines[5] == "| 50 % | - | - | - |"
    assert lines[-1] == "Note."


def test_csv_keeps_every_value_in_full():
    rows = list(csv.DictReader(io.StringIO(TABLE.csv())))
    assert rows[0]["ours_values"] == "0.5 0.6 0.7"
    assert float(rows[0]["ours_sd"]) == pytest.approx(0.1)
    assert rows[0]["ours_n"] == "3"
    assert rows[1]["ours"] == ""
    assert rows[0]["parameters"] == "4066"


def test_latex_is_booktabs_with_special_characters_escaped():
    lines = TABLE.latex().splitlines()
    assert lines[1] == r"\begin{tabular}{lrrr}"
    assert lines[2] == r"\toprule"
    assert lines[3] == r"row & ours & a\_b & parameters \\"
    assert lines[5] == r"x \& y & 0.600 $\pm$ 0.100 (3) & 0.25 & 4,066 \\"
    assert lines[6].startswith(r"50 \%")


def test_interval_is_students():
    # t(0.975, 2 degrees of freedom) = 4.302653, sd 0.1, n 3
    assert Stat((0.5, 0.6, 0.7)).interval == pytest.approx(
        (0.6 - 4.302653 * 0.1 / 3**0.5, 0.6 + 4.302653 * 0.1 / 3**0.5)
    )
    assert Stat((0.5,)).interval is None
    assert Stat.of({"values": [0.5, None]}) is None


def test_small_numbers_keep_three_digits_but_no_more_than_five_decimals():
    assert str(Stat((0.01234,))) == "0.0123 (1)"
    assert str(Stat((0.0000123,))) == "0.00001 (1)"
    assert str(Stat((12.3,))) == "12.30 (1)"
    assert str(Stat((375.0,))) == "375 (1)"
    assert str(Stat((22.0, 23.0))) == "22.50 ± 0.71 (2)"
