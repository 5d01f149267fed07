"""/docs and /openapi.json: a complete description, shown without any other host."""

from __future__ import annotations

import re

from server_process import Server, StartServer

from ism_ros.data.rle import decode_rle
from ism_ros.server.schemas import InferenceResponse


def test_the_page_needs_this_server_alone(server: Server) -> None:
    with server.client() as client:
        page = client.get("/docs")
        named = re.findall(r"""(?:src|href)=["']([^"']*)["']""", page.text)
        assert len(named) >= 3  # a script, a style, an icon
        for path in [*named, "/openapi.json"]:
            assert path.startswith("/")
            assert not path.startswith("//")
            assert client.get(path).status_code == 200, path
        assert client.get("/docs/..%2f..%2f__init__.py").status_code == 404
        assert client.get("/redoc").status_code == 404
    assert "//" not in re.sub(r"<!--.*?-->|// .*", "", page.text)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self' 'sha256-" in policy
    assert "http" not in policy


def test_the_styles_and_scripts_are_what_they_say(server: Server) -> None:
    with server.client() as client:
        script, style = client.get("/docs/swagger-ui-bundle.js"), client.get("/docs/swagger-ui.css")
    assert script.headers["content-type"].startswith("text/javascript")
    assert "SwaggerUIBundle" in script.text
    assert style.headers["content-type"].startswith("text/css")
    assert ".swagger-ui" in style.text
    assert "url(http" not in style.text


def test_the_description_is_complete_and_its_examples_work(server: Server) -> None:
    with server.client() as client:
        described = client.get("/openapi.json").json()
        request = described["components"]["schemas"]["InferenceRequest"]["examples"][0]
        answer = client.post("/api/v1/inference", json=request)
    assert answer.status_code == 200, answer.text
    assert answer.json()["detections"] == []
    example = described["components"]["schemas"]["InferenceResponse"]["examples"][0]
    assert example.keys() <= answer.json().keys()
    (found,) = InferenceResponse.model_validate(example).detections
    rows, columns = decode_rle(found.segmentation.model_dump()).nonzero()
    left, top = min(columns), min(rows)
    assert found.bbox == [left, top, max(columns) - left, max(rows) - top]
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            assert operation["description"], (method, path)
            for status, failure in operation["responses"].items():
                if int(status) >= 400:
                    assert failure["content"]["application/json"]["example"]["success"] is False, (path, status)
    assert {"409", "507"} <= described["paths"]["/api/v1/objects"]["post"]["responses"].keys()
    assert list(described["paths"]["/metrics"]["get"]["responses"]["200"]["content"]) == ["text/plain"]


def test_with_a_key_the_description_is_open_and_says_so(start_server: StartServer) -> None:
    server = start_server(is_ready=False, ISM_API_KEY="let me in")
    with server.client() as client:
        assert client.get("/docs").status_code == 200
        assert client.get("/docs/swagger-ui-bundle.js").status_code == 200
        described = client.get("/openapi.json").json()
        assert client.get("/docs-and-more").status_code == 401
    (scheme,) = described["components"]["securitySchemes"].values()
    assert (scheme["in"], scheme["name"]) == ("header", "X-API-Key")
    assert described["security"]
