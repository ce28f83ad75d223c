"""Is the derivation right? Every equation, checked against references that know no derivative."""
