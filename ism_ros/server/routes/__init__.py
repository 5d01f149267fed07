"""Routes of the HTTP API, of its description and of the web page."""
