"""The learned descriptor whose weights ship with the package."""
