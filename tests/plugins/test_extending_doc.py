"""Every example of docs/extending.md runs as it stands, as a package beside the project."""

import re
from pathlib import Path

from .packages import ROOT, declare, run

CHECKS = """
from my_plugins import BalancedAccuracy
from tamt_ray.testing import check_method, check_metric, check_objective, check_task

if __name__ == "__main__":
    check_method("rows")
    check_metric(BalancedAccuracy)
    names = ["sport", "art", "law"]
    words = [{"text": f"w{n % 7} w{n % 5}", "label": names[n % 3]} for n in range(30)]
    topics = {"kind": "topics", "names": names, "text": ["text"]}
    check_task(topics, words)
    check_task({**topics, "metric": "balanced_accuracy"}, words)
    check_objective("logits")
    print("all kept")
"""


def test_the_examples_keep_the_contract(tmp_path: Path) -> None:
    document = (ROOT / "docs" / "extending.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    assert len(examples) == 4
    site = tmp_path / "site"
    site.mkdir()
    (site / "my_plugins.py").write_text("\n".join(examples))
    declare(site, "my-plugins", {
        "tamt_ray.methods": {"rows": "my_plugins:Rows"},
        "tamt_ray.objectives": {"logits": "my_plugins:Logits"},
        "tamt_ray.metrics": {"balanced_accuracy": "my_plugins:BalancedAccuracy"},
        "tamt_ray.tasks": {"topics": "my_plugins:Topics"},
    })  # fmt: skip
    (tmp_path / "checks.py").write_text(CHECKS)
    done = run(site, "checks.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "all kept\n"), done.stderr[-3000:]


def test_each_extension_is_told_in_fifteen_lines(tmp_path: Path) -> None:
    document = (ROOT / "docs" / "extending.md").read_text()
    for part in document.split("\n## ")[1:]:
        text = re.sub(r"```.*?```", "", part, flags=re.DOTALL)
        assert len([line for line in text.splitlines() if line.strip()]) <= 15, part[:40]
