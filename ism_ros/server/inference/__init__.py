"""From a checked inference request to its response, in the server's process."""
