"""What a customer of the journey's service sees."""

from __future__ import annotations

import http.client
import json


def page(port: int) -> dict[str, str]:
    """Status and the page's own words."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/page")
        answer = connection.getresponse()
        body = answer.read()
        text = json.loads(body)["text"] if body.startswith(b"{") else ""
        return {"status": str(answer.status), "text": text}
    finally:
        connection.close()
