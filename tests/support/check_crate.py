"""Hold a crate against the Process Run Crate profile with roc-validator: `check_crate.py DIRECTORY SEVERITY`.

It runs in an environment of its own that has roc-validator and rocrate. The two JSON-LD contexts, which the validator
would fetch, are served from here: RO-Crate's as the rocrate package carries it, the run terms by name.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import rocrate
from rdflib.plugins.shared.jsonld import context, util
from rocrate_validator import models, services
from rocrate_validator.utils.http import HttpRequester

RUN = "https://w3id.org/ro/terms/workflow-run#"
TERMS = ("ContainerImage", "DockerImage", "SIFImage", "containerImage", "registry", "tag", "sha256", "environment")
CONTEXTS = {
    "https://w3id.org/ro/crate/1.1/context": json.loads(
        (Path(rocrate.__file__).parent / "data" / "ro-crate.jsonld").read_text()
    ),
    "https://w3id.org/ro/terms/workflow-run/context": {"@context": {term: RUN + term for term in TERMS}},
}
_real = context.source_to_json


class Reply:
    status_code = 200
    headers = {"Content-Type": "application/ld+json"}  # noqa: RUF012 - read only

    def __init__(self, document: Any) -> None:
        self._document = document
        self.text = json.dumps(document)
        self.content = self.text.encode()

    def json(self) -> Any:
        return self._document


def source(place: Any, *others: Any, **named: Any) -> Any:
    known = CONTEXTS.get(str(place))
    return (known, None) if known else _real(place, *others, **named)


def main(directory: str, severity: str) -> int:
    context.source_to_json = util.source_to_json = source
    type(HttpRequester()).get = lambda _self, url, **_named: Reply(CONTEXTS[url])
    settings = services.ValidationSettings(
        rocrate_uri=directory,
        profile_identifier="process-run-crate",
        requirement_severity=models.Severity[severity],
        disable_remote_crate_download=True,
    )
    result = services.validate(settings)
    for issue in result.get_issues():
        sys.stdout.write(f"{issue.severity.name} {issue.check.identifier} {issue.message}\n")
    return 0 if result.passed() else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
