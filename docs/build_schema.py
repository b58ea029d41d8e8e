"""Write docs/edgeml.schema.json; ``--check`` only says whether it is current."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edgeml_train.contract_schema import contract_json_schema
from edgeml_train.settings import train_schema

TARGET = Path(__file__).with_name("edgeml.schema.json")


def document() -> str:
    """The schema as it stands in the file."""
    return json.dumps(contract_json_schema(train=train_schema()), indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the schema, or compare it."""
    text = document()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text, encoding="utf-8")
        return 0
    if not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
        sys.stderr.write(f"{TARGET.name} is not current: run `make docs`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
