"""The demo: fake camera and node over real DDS, and what was found compared with the ground truth."""
