"""The OpenAPI document and the server say the same; schemathesis looks for where they do not."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from served import Served


@pytest.fixture(scope="module")
def document(server: Served) -> dict[str, Any]:
    return server.client.get("/openapi.json").json()


def test_every_route_is_described(document: dict[str, Any]) -> None:
    assert set(document["paths"]) == {
        *("/", "/segment", "/segment_boxes", "/models", "/healthz", "/readyz", "/metrics", "/openapi.json"),
    }


def test_answers_and_examples_fit_their_schemas(
    server: Served, document: dict[str, Any], film: bytes
) -> None:
    def check(value: Any, name: str) -> None:
        jsonschema.validate(value, {**document["components"]["schemas"][name], "components": {}})

    answer = server.post("/segment", film).json()
    check(answer, "Answer")
    check(server.post("/segment_boxes?box=0,0,90,90", film).json(), "BoxesAnswer")
    check(server.client.get("/models").json(), "Models")
    check(server.post("/segment", b"none").json(), "Problem")
    example = document["paths"]["/segment"]["post"]["responses"]["200"]["content"]["application/json"][
        "example"
    ]
    check(example, "Answer")
    assert list(example["results"][0]) == list(answer["results"][0])


def look(server: Served, folder: Path, examples: int) -> None:
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"),
        *(
            "--max-examples",
            str(examples),
            "--seed",
            "1",
            "--no-color",
            "--phases",
            "examples,coverage,fuzzing",
        ),
        *("--checks", "not_a_server_error,status_code_conformance,response_schema_conformance"),
    ]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    ended = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=3000)
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
    assert "defect" not in server.log()


@pytest.mark.slow  # test_hostile.py asks what nobody should, more often and sooner
@pytest.mark.parametrize("examples", [3, 200])
def test_schemathesis(server: Served, tmp_path: Path, examples: int) -> None:
    look(server, tmp_path, examples)
