"""The plugins that ship with the core; they use the same hooks as a stranger's."""
