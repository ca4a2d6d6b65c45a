"""A real language model behind the same protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx2
import pytest

from tests.conftest import require_packages
from tests.servers.llama import MODEL, PACKAGES, llama

pytestmark = pytest.mark.real
ASKED = (
    "Is the document about the query? Answer Yes or No.\nQuery: gold\nDocument: Silver is cheap."
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    require_packages(*PACKAGES)
    with llama() as found:
        yield found


def asked(url: str, **more: object) -> dict[str, object]:
    body = {"model": MODEL, "messages": [{"role": "user", "content": ASKED}], "temperature": 0}
    answer = httpx2.post(f"{url}/chat/completions", json={**body, **more}, timeout=60)
    return answer.raise_for_status().json()


def test_it_is_there_and_speaks_the_protocol(url: str) -> None:
    [model] = httpx2.get(f"{url}/models").json()["data"]
    assert model["id"] == MODEL
    assert model["meta"]["n_params"] == 134515008
    told = asked(url, max_tokens=1, logprobs=True, top_logprobs=20)
    first = told["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    assert {"Yes", "No"} < {row["token"] for row in first}
    assert told["usage"]["completion_tokens"] == 1


def test_its_log_probabilities_know_no_grammar(url: str) -> None:
    schema = {"type": "object", "properties": {"relevant": {"type": "boolean"}}}
    schema = {**schema, "required": ["relevant"], "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": schema}}
    told = asked(url, max_tokens=30, logprobs=True, top_logprobs=20, response_format=wanted)
    choice = told["choices"][0]
    assert set(json.loads(choice["message"]["content"])) == {"relevant"}
    first = choice["logprobs"]["content"][0]["top_logprobs"]
    assert {"Yes", "No"} & {row["token"] for row in first}
