"""Samplers' mathematics in sigma space, one coroutine each; see `coroutine`. They know no model."""
