"""Publishers of results and their messages."""
