"""How the learned default is made: data and training. Outside the runtime package; nothing there imports it."""
