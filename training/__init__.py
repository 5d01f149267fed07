"""How the learned default is made: data, training, evaluation. Outside the runtime package; nothing there imports it."""
