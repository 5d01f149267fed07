"""Evidence for and against poses: what the camera should see if the object were there, beside what it sees."""
