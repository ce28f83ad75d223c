"""How is the loss lowered? The step of gradient descent, the epochs around it, the order of the rows."""
