"""Is the derivation right? Every equation, checked against references without an analytic derivative."""
