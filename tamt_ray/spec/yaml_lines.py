"""YAML as plain values with the line of each; refuses texts that would take all memory or time."""

import re

import yaml

from tamt_ray.spec.overrides import Location

_MOST_VALUES = 10_000
"""Values of a file, counting what its aliases stand for: more than anybody writes by hand, as are
the next two."""
_DEEPEST = 32
_LONGEST_NUMBER = 100
"""Characters."""
Lines = dict[Location, str]
"""`file:line` of every key and item."""


class SpecError(ValueError):
    """The sweep file cannot be used; the message is complete and meant for the user."""


class _NumberLoader(yaml.SafeLoader):
    """YAML 1.1 reads 5e-5 as a string; everyone who writes it means a number. Dates are words. So
    are `yes`, `no`, `on` and `off`, as in YAML 1.2: they name classes more often."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        """Return the value of a node. Raises ConstructorError where it does not fit its tag: `!!int
        x`."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError) as error:
            raise yaml.constructor.ConstructorError(
                None, None, f"not a value of {node.tag.rpartition(':')[2]!r}", node.start_mark
            ) from error


# A sweep named after a day is a word, and `2001-13-45` no reason to stop.
_OTHERS = {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:bool"}
_NumberLoader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag not in _OTHERS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_NumberLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_NumberLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def parsed(text: str, name: str, lines: Lines | None = None) -> tuple[yaml.Node | None, object]:
    """Return a YAML text as its node and as plain values, and fill in the line of each.

    Raises SpecError with `name` and the line.
    """
    try:
        _weigh(text, name)
        loader = _NumberLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None, None
        _index(node, (), {} if lines is None else lines, name, ())
        return node, loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        words, mark = _in_words(error)
        raise SpecError(f"{name}:{mark.line + 1 if mark else 1}: {words}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpecError(f"{name}:{line}: {error.reason}; is it a text file?") from error


_PROBLEMS = {
    r"found character '\\t'": "a tab; YAML is indented with spaces",
    "escape": "a backslash between double quotes; write a path with `/`, a regular expression in "
    "single quotes",
    "expected <block end>": "indented unlike the lines above",
    "mapping values are not allowed": "a colon where none can be; check the indentation, or put "
    "the value in quotes",
}
"""Problems that the parser finds, in words for people."""


def _in_words(error: yaml.MarkedYAMLError) -> tuple[str, yaml.Mark | None]:
    """Return the problem and its place."""
    problem = error.problem or "not valid YAML"
    if problem == "could not find expected ':'":
        return "neither `key: value` nor an item; is a space missing behind a colon?", (
            error.context_mark
        )
    found = [words for known, words in _PROBLEMS.items() if re.search(known, problem)]
    return found[0] if found else problem, error.problem_mark


def _weigh(text: str, name: str) -> None:
    """Refuse too many values or levels by counting parser events, before values are built."""
    weights: dict[str, int] = {}
    """Values within each anchor that is closed."""
    around: list[tuple[str | None, int]] = []
    """Anchor of each open part, and how many values there were before it."""
    count = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.NodeEvent):
            before = count
            # An alias inside its own part is told later, by name.
            count += weights.get(event.anchor, 1) if isinstance(event, yaml.AliasEvent) else 1
            if isinstance(event, yaml.CollectionStartEvent):
                around.append((event.anchor, before))
            elif isinstance(event, yaml.ScalarEvent) and event.anchor:
                weights[event.anchor] = 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = around.pop()
            if anchor:
                weights[anchor] = count - before
        if count > _MOST_VALUES:
            aliases = ", counting what aliases stand for" if weights else ""
            raise SpecError(f"{name}:{line}: more than {_MOST_VALUES:,} values{aliases}")
        if len(around) > _DEEPEST:
            raise SpecError(f"{name}:{line}: nested more than {_DEEPEST} deep")


def _index(
    node: yaml.Node, at: Location, lines: Lines, name: str, around: tuple[yaml.Node, ...]
) -> None:
    """Record the line of every key and item; refuse keys given twice and endless aliases.

    A merged key (`<<`) counts where it is merged into, with the line where it is written.
    """
    line = node.start_mark.line + 1
    if any(node is outer for outer in around):
        raise SpecError(f"{name}:{line}: an alias inside this part stands for the part itself")
    around = (*around, node)
    lines.setdefault(at, f"{name}:{line}")
    if isinstance(node, yaml.ScalarNode):
        if node.tag.endswith((":int", ":float")) and len(node.value) > _LONGEST_NUMBER:
            raise SpecError(f"{name}:{line}: a number of {len(node.value):,} characters")
    elif isinstance(node, yaml.MappingNode):
        merged: list[yaml.Node] = []
        seen: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise SpecError(f"{name}:{line}: a key must be a word or a number")
            if key.value in seen:
                raise SpecError(f"{name}:{line}: the key `{key.value}` is given twice")
            seen.add(key.value)
            if key.tag == "tag:yaml.org,2002:merge":
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
                continue
            lines.setdefault((*at, key.value), f"{name}:{line}")
            _index(value, (*at, key.value), lines, name, around)
        for mapping in merged:
            _index(mapping, at, lines, name, around)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _index(item, (*at, number), lines, name, around)


def place(loc: Location, lines: Lines) -> Location:
    """Return the deepest place of the file on the way to `loc`, which also names union members."""
    at: Location = ()
    for step in loc:
        if (*at, step) in lines:
            at = (*at, step)
        elif (*at, str(step)) in lines:
            at = (*at, str(step))
    return at
