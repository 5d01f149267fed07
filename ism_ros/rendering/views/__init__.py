"""Views of an object: where from, and as polar maps in metres."""
