"""The learned segmentor whose weights ship with the package."""
