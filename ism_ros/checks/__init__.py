"""Checks of what comes in: cameras, depth, exposure. They raise nothing, but return errors or warnings in words."""
