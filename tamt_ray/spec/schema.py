"""The JSON schema of a sweep file, for editors."""

import json

from tamt_ray.spec.sweep import Sweep


def sweep_schema() -> str:
    """JSON schema text; the first line of each sweep file names where it is kept."""
    schema = Sweep.model_json_schema()
    names = {
        "type": "string",
        "enum": ["random", "omp", "imp", "tamt_mlm", "tamt_kd", "tamt_mlm_kd"],
    }
    methods = schema["properties"]["methods"]
    methods["items"] = {"anyOf": [names, methods["items"]]}
    return json.dumps(schema, indent=1) + "\n"
