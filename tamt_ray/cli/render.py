"""Files written out of templates."""

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, **values: object) -> str:
    """Return a template of this room with its values filled in."""
    environment = Environment(
        loader=PackageLoader("tamt_ray.cli"), trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, undefined=StrictUndefined, autoescape=False,
    )  # fmt: skip
    return environment.get_template(template).render(values)
