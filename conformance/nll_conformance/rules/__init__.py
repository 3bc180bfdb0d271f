"""The sentences of the contract, a module for each theme; a rule's id is where it lives."""
