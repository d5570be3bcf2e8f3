"""The paper's own numbers: read as they stand, refused with the line that is wrong."""

import pytest

from tamt_ray.analysis.claims.published import PublishedError, read_published

HEAD = "method,sparsity,avg_low,avg_high,mlm_loss_low,mlm_loss_high,kd_loss_low,kd_loss_high"
ROW = "omp,0.5,79.1,79.3,4.51,4.51,0.255,0.255"


def test_read() -> None:
    found = read_published(f"# where from\n\n{HEAD}\n# more\n{ROW}\nfull,0.0,82,82,2,2,0,0\n", "f")
    assert found.columns == HEAD.split(",")
    assert found.rows() == [
        ("omp", 0.5, 79.1, 79.3, 4.51, 4.51, 0.255, 0.255),
        ("full", 0.0, 82.0, 82.0, 2.0, 2.0, 0.0, 0.0),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f.csv:1: the table is empty"),
        ("# only words\n", "f.csv:1: the table is empty"),
        ("method,score\nomp,3\n", "f.csv:1: the columns must be method,sparsity"),
        (f"# x\n{HEAD}\n", "f.csv:2: there is no row"),
        (f"# x\n{HEAD}\n{ROW}\nimp,0.5,1\n", "f.csv:4: 3 values for 8 columns"),
        (f"{HEAD}\n{ROW.replace('79.1', 'high')}\n", "f.csv:2: 'high' is not a number"),
        (f"{HEAD}\n{ROW.replace('79.1', 'nan')}\n", "f.csv:2: nan is not a finite"),
        (f"{HEAD}\n{ROW.replace('79.1', '80')}\n", "f.csv:2: avg_low 80 is above avg_high 79.3"),
        (f"{HEAD}\n{ROW.replace('0.5', '50')}\n", "f.csv:2: the sparsity 50 is not"),
        (f"{HEAD}\n{ROW}\n\n{ROW}\n", "f.csv:4: omp at 0.5 is there twice"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(PublishedError) as caught:
        read_published(text, "f.csv")
    assert str(caught.value).startswith(message)
