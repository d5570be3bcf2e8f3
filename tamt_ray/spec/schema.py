"""The JSON schema of a sweep file, for editors."""

import json

from tamt_ray.spec.sweep import Sweep


def sweep_schema() -> str:
    """JSON schema text; the first line of each sweep file names where it is kept."""
    schema = Sweep.model_json_schema()
    fields = schema["properties"]
    fields["parts"] = {
        "description": "Sweep files whose union this sweep is.",
        "type": "array",
        "items": {"type": "string"},
        "minItems": 1,
    }
    schema["anyOf"] = [{"required": schema.pop("required")}, {"required": ["name", "parts"]}]
    # A file that extends another one may leave everything out.
    patch = {name: {"description": field.get("description", "")} for name, field in fields.items()}
    patch["extends"] = {
        "description": "Another sweep file; this one is laid over it as a JSON merge patch.",
        "type": "string",
    }
    whole = {
        "$defs": schema.pop("$defs"),
        "if": {"required": ["extends"]},
        "then": {"type": "object", "properties": patch, "additionalProperties": False},
        "else": schema,
    }
    return json.dumps(whole, indent=1) + "\n"
