"""What a model costs on this machine: times of the stages of a frame, memory, start, and a picture of them."""
