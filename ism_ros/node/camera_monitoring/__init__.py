"""What is known of the camera: how often frames come, what is lost, and why none comes."""
