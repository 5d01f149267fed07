"""The services: segment one frame; add, remove and list objects."""
